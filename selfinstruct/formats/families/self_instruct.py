"""The files of Self-Instruct (yizhongw/self-instruct).

    seed_tasks                      {"id", "instruction", "instances": [{"input", "output"}], "is_classification", ...}
    user_oriented_instructions      the same with "motivation_app"
    predictions                     {"instruction", "input", "response", "target"}: a model's answers to those
    machine_generated_instructions  {"instruction", "most_similar", ...}: no answers, so that all its rows are dropped
    machine_generated_instances     {"instruction", "raw_instances", ...}: completions with the reference's markers

`all_generated_instances` has the form of Alpaca; `gpt3_finetuning_data` that of prompts and completions.

A run is exported as the files that the reference code's tools read (`write_exported`). `most_similar` and
`avg_similarity_score` are not written: the novelty filter does not compute scores that are far below its threshold.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from msgspec import Struct

from selfinstruct.formats import jsonl
from selfinstruct.formats.families.dataset_row import DatasetRow, Dropped, Read, convert, single_turn
from selfinstruct.records import Instruction, Task, user_message, with_constraints

# The reference code's own patterns (prepare_for_finetuning.py), at line starts only.
_EXAMPLE = re.compile(r"^Example ?\d*\.?[ \t]*", re.M)
_OUTPUT = re.compile(r"^Output ?\d*:", re.M)
_INPUT = re.compile(r"^Input ?\d*:", re.M)
_LABEL = re.compile(r"^Class label:", re.M)


class _Instance(Struct):
    output: str
    input: str | None = ""


class _Task(Struct):
    instruction: str
    instances: list[_Instance]
    id: str | int = ""
    name: str = ""
    category: str = ""
    motivation_app: str = ""
    is_classification: bool | None = None


class _Prediction(Struct):
    instruction: str
    response: str
    target: str
    input: str | None = ""


class _Raw(Struct):
    instruction: str
    raw_instances: str
    is_classification: bool | None = None


def recognises(record: dict[str, Any]) -> bool:
    """Return whether a record is of one of these files."""
    keys = record.keys()
    return "instruction" in keys and (
        "instances" in keys
        or {"response", "target"} <= keys
        or "raw_instances" in keys
        or ("most_similar" in keys and "output" not in keys)
    )


def read(record: dict[str, Any]) -> Read:
    """Yield a row for each instance of a record.

    Raises:
        ValueError: a field is missing or has another type.
    """
    if "instances" in record:
        yield from _of_task(convert(record, _Task))
    elif "target" in record:
        answer = convert(record, _Prediction)
        yield single_turn(
            answer.instruction.strip(),
            (answer.input or "").strip(),
            answer.response.strip(),
            references=(answer.target.strip(),) if answer.target.strip() else (),
        )
    elif "raw_instances" in record:
        yield from _of_raw(convert(record, _Raw))
    elif "instruction" in record:
        yield Dropped("an instruction without instances")
    else:
        raise ValueError("`instruction`: is missing")


def _of_task(task: _Task) -> Read:
    if not task.instances:
        yield Dropped("an instruction without instances")
    for number, instance in enumerate(task.instances):
        yield single_turn(
            task.instruction.strip(),
            (instance.input or "").strip(),
            instance.output.strip(),
            id=f"{task.id}-{number}" if task.id != "" else "",
            task=str(task.id) or task.name,
            category=task.category or task.motivation_app,
            is_classification=task.is_classification,
        )


def _of_raw(raw: _Raw) -> Read:
    instruction = raw.instruction.strip()
    pairs = list(_pairs(raw.raw_instances.strip()))
    if not pairs:
        yield Dropped("a completion without instances")
    for task_input, output in pairs:
        yield single_turn(instruction, task_input, output, is_classification=raw.is_classification)


def _pairs(text: str) -> list[tuple[str, str]]:
    """Return the inputs and outputs of a raw completion."""
    if _LABEL.search(text):
        parts = [part.strip().partition("\n") for part in _LABEL.split(text)[1:]]
        return [(_after(_INPUT, rest), label.strip()) for label, _, rest in parts]
    blocks = [block.strip() for block in _EXAMPLE.split(text)] if _EXAMPLE.search(text) else [text]
    pairs = []
    for block in filter(None, blocks):
        before, *outputs = _OUTPUT.split(block)
        if outputs:
            pairs.append((_after(_INPUT, before), _INPUT.split(outputs[0])[0].strip()))
        elif block is not text:
            pairs.append(("", block))
    return pairs


def _after(marker: re.Pattern[str], text: str) -> str:
    return marker.sub("", text.strip(), count=1).strip()


def write(row: DatasetRow) -> tuple[dict[str, Any], list[str]]:
    """Return the record of a row as a seed task with one instance, and what of the row it cannot hold."""
    instruction, task_input = row.parts
    record = {
        "id": row.id,
        "name": row.task,
        "category": row.category,
        "instruction": instruction,
        "instances": [{"input": task_input, "output": row.answer.content}],
        "is_classification": bool(row.is_classification),
    }
    return record, row.beyond_one_turn


def as_tasks(records: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the tasks of a file: records in a row with the same instruction become the instances of one task.

    Args:
        records: as `write` returns them.
    """
    for number, (_, same) in enumerate(groupby(records, key=lambda record: record["instruction"]), 1):
        first, *others = same
        instances = first["instances"] + [instance for record in others for instance in record["instances"]]
        yield first | {"id": f"task_{number:06d}", "instances": instances}


def write_exported(
    folder: Path, instructions: Sequence[tuple[Instruction, bool | None]], tasks: Sequence[Task]
) -> None:
    """Write accepted instructions and the instances of tasks in the formats of the reference code.

        machine_generated_instructions.jsonl  {"instruction", "request_idx"}
        is_clf_or_not.jsonl                   {"instruction", "is_classification": " Yes" | " No"}
        all_generated_instances.jsonl         {"instruction", "input", "output"}
        finetuning.jsonl                      {"prompt", "completion"}, plain text that ends in GPT-3's end token

    Args:
        folder: folder of the four files.
        instructions: (instruction, whether it is a classification task) in order; None if that is not known.
        tasks: instructions with their instances.
    """
    jsonl.write(
        folder / "machine_generated_instructions.jsonl",
        ({"instruction": i.text, "request_idx": i.proposal} for i, _ in instructions),
    )
    jsonl.write(
        folder / "is_clf_or_not.jsonl",
        (
            {"instruction": i.text, "is_classification": " Yes" if yes else " No"}
            for i, yes in instructions
            if yes is not None
        ),
    )
    jsonl.write(
        folder / "all_generated_instances.jsonl",
        (
            {"instruction": with_constraints(t.instruction, i.constraints), "input": i.input, "output": i.output}
            for t in tasks
            for i in t.instances
        ),
    )
    jsonl.write(
        folder / "finetuning.jsonl",
        (
            {
                "prompt": f"{user_message(with_constraints(t.instruction, i.constraints), i.input)}\n\n",
                "completion": f"{i.output}<|endoftext|>",
            }
            for t in tasks
            for i in t.instances
        ),
    )
