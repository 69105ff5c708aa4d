"""The FLAN collection and its mirrors: the whole input is the user's turn, the target is the answer.

    {"inputs": "Translate ...", "targets": "...", "_task_name": "wmt16", "_task_source": "Flan2021",
     "_template_type": "zs_noopt", "_template_idx": 3}

Mirrors have `task` or `task_name`, without underscores. The chain-of-thought files are TSV without a header: question,
answer, rationale, with line breaks written as backslash and n. The answer to train on is then the rationale, and a
sentence that gives the answer.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from selfinstruct.formats.data_files import COLUMNS
from selfinstruct.formats.families.dataset_row import (
    ASSISTANT,
    USER,
    DatasetRow,
    Read,
    Turn,
    checked,
    convert,
    single_turn,
)

_THEREFORE = "So the answer is {answer}."


class _Row(Struct):
    inputs: str
    targets: str
    source_of_task: str = field(default="", name="_task_source")
    name_of_task: str = field(default="", name="_task_name")
    task_name: str = ""
    task_source: str = ""
    task: str = ""
    id: str | int = ""


def recognises(record: dict[str, Any]) -> bool:
    """Return whether a record has this form."""
    if record.keys() == {COLUMNS}:
        return isinstance(record[COLUMNS], list) and len(record[COLUMNS]) == 3
    return {"inputs", "targets"} <= record.keys()


def read(record: dict[str, Any]) -> Read:
    """Yield the row of a record.

    Raises:
        ValueError: a field is missing or has another type, or a TSV line has not three columns.
    """
    if record.keys() == {COLUMNS}:
        columns = convert(record[COLUMNS], list[str])
        if len(columns) != 3:
            raise ValueError(f"expected question, answer and rationale, got {len(columns)} column(s)")
        question, answer, rationale = (text.replace("\\n", "\n").strip() for text in columns)
        yield single_turn(question, "", f"{rationale} {_THEREFORE.format(answer=answer)}".strip())
        return
    row = convert(record, _Row)
    turns = (Turn(USER, row.inputs.strip()), Turn(ASSISTANT, row.targets.strip()))
    yield checked(
        DatasetRow(
            turns,
            id=str(row.id),
            task=row.name_of_task or row.task_name or row.task,
            category=row.source_of_task or row.task_source,
        )
    )


def write(row: DatasetRow) -> tuple[dict[str, Any], list[str]]:
    """Return the record of a row, and what of the row it cannot hold."""
    record = {"inputs": row.question.content, "targets": row.answer.content}
    if row.task:
        record["_task_name"] = row.task
    if row.category:
        record["_task_source"] = row.category
    return record, row.beyond_one_turn
