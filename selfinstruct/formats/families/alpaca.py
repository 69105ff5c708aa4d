"""Stanford Alpaca and its relatives: one instruction, perhaps an input, one output.

    {"instruction": "Name the capital.", "input": "Kenya", "output": "Nairobi"}

Also read: `response` in place of `output`; `prompt` and `response`; LLaMA-Factory's `system`, `history`
([[question, answer], ...] before the last question) and, for preferences, `chosen` and `rejected`. The instances of
Self-Instruct's reference code (`all_generated_instances.jsonl`) have the same form.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from msgspec import Struct

from selfinstruct.formats import jsonl
from selfinstruct.formats.exported_rows import ExportedRow
from selfinstruct.formats.families.dataset_row import (
    ASSISTANT,
    SYSTEM,
    USER,
    DatasetRow,
    Dropped,
    Read,
    Turn,
    checked,
    convert,
)
from selfinstruct.no_input import stands_for_no_input
from selfinstruct.records import user_message


class _Row(Struct):
    instruction: str | None = None
    prompt: str | None = None
    input: str | None = None
    output: str | None = None
    response: str | None = None
    chosen: str | None = None
    rejected: str | None = None
    system: str | None = None
    history: list[tuple[str, str]] | None = None
    id: str | int | None = None
    category: str | None = None
    is_classification: bool | None = None


def recognises(record: dict[str, Any]) -> bool:
    """Return whether a record has this form."""
    asked = any(name in record and isinstance(record[name], str | None) for name in ("instruction", "prompt"))
    answered = record.keys() & {"output", "response"}
    preferred = {"instruction", "chosen", "rejected"} <= record.keys()
    other = record.keys() & {"instances", "target", "completion", "messages", "conversations", "raw_instances"}
    return asked and bool(answered or preferred) and not other


def read(record: dict[str, Any]) -> Read:
    """Yield the row of a record.

    Raises:
        ValueError: a field has another type, or there is no instruction.
    """
    if not record.keys() & {"instruction", "prompt", "input"}:
        raise ValueError("`instruction`: is missing")
    row = convert(record, _Row)
    instruction = (row.instruction or row.prompt or "").strip()
    task_input = (row.input or "").strip()
    if stands_for_no_input(task_input):
        task_input = ""
    if not instruction and not task_input:
        yield Dropped("empty question")
        return
    answers = [text for text in (row.output, row.response, row.chosen) if text is not None]
    if not answers:
        raise ValueError("`output`: is missing")
    turns = [Turn(SYSTEM, row.system)] if row.system else []
    for question, answer in row.history or ():
        turns += [Turn(USER, question), Turn(ASSISTANT, answer)]
    asked = user_message(instruction, task_input) if instruction else task_input
    turns += [Turn(USER, asked), Turn(ASSISTANT, answers[0].strip())]
    yield checked(
        DatasetRow(
            tuple(turns),
            id="" if row.id is None else str(row.id),
            instruction=instruction or task_input,
            input=task_input if instruction else "",
            rejected=(row.rejected or "").strip(),
            category=row.category or "",
            is_classification=row.is_classification,
        )
    )


def write(row: DatasetRow) -> tuple[dict[str, Any], list[str]]:
    """Return the record of a row, and what of the row it cannot hold.

    `system` and `history` are written only where the row has them.
    """
    instruction, task_input = row.parts
    record: dict[str, Any] = {"instruction": instruction, "input": task_input, "output": row.answer.content}
    lost = []
    if row.system:
        record["system"] = row.system
    if row.earlier:
        if row.alternates:
            pairs = zip(row.earlier[::2], row.earlier[1::2], strict=True)
            record["history"] = [[question.content, answer.content] for question, answer in pairs]
        else:
            lost.append("earlier turns that do not alternate")
    if row.rejected:
        record = {k: v for k, v in record.items() if k != "output"} | {
            "chosen": row.answer.content,
            "rejected": row.rejected,
        }
    if any(turn.thinking for turn in row.turns):
        lost.append("thinking")
    return record, lost + (["further references"] if row.references else [])


def write_exported(path: Path, rows: Iterable[ExportedRow]) -> None:
    """Write exported rows as one JSON array of the three fields, as Stanford's file is, atomically."""
    jsonl.write_json(path, [{"instruction": row.instruction, "input": row.input, "output": row.output} for row in rows])
