"""Rows of an exported dataset, one JSON object per line:

    {"id": "p000001-02-0", "instruction": "Name the capital.", "input": "Kenya", "output": "Nairobi",
     "is_classification": false, "origin": "generated",
     "prompt": [{"role": "user", "content": "Name the capital.\\n\\nKenya"}],
     "completion": [{"role": "assistant", "content": "Nairobi"}],
     "messages": [{"role": "user", "content": "Name the capital.\\n\\nKenya"},
                  {"role": "assistant", "content": "Nairobi"}]}

A row whose answer was checked by a program has `constraints`, each with type, parameters and sentence. Where a model's
thinking is kept, it is the field `thinking` of the row and of its message, or text of the message.
`prompt` and `completion` repeat the texts in the form that TRL's `SFTTrainer` takes, `messages` in that of others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from selfinstruct.errors import InputError
from selfinstruct.formats import jsonl
from selfinstruct.records import Constraint, Message, Task, user_message, with_constraints


@dataclass(frozen=True, slots=True)
class ExportedRow:
    """One instance of a task.

    Attributes:
        id: the id of the task and the number of the instance.
        input: empty if the task needs none.
        origin: `generated`, `earlier` (written by a parent run) or `seed`.
        thinking: what the model thought before it wrote the output; empty where that is not kept.
        thinks_in_text: whether the message to train on holds the thinking in its text, as `<think>`.
        constraints: what a program has checked the output for; the instruction ends with their sentences.
    """

    id: str
    instruction: str
    input: str
    output: str
    is_classification: bool
    origin: str = "generated"
    thinking: str = ""
    thinks_in_text: bool = False
    constraints: tuple[Constraint, ...] = ()

    @property
    def prompt(self) -> list[Message]:
        """Return the messages that the tuned model gets."""
        return [{"role": "user", "content": user_message(self.instruction, self.input)}]

    @property
    def completion(self) -> list[Message]:
        """Return the messages that the tuned model should answer."""
        if not self.thinking:
            return [{"role": "assistant", "content": self.output}]
        if self.thinks_in_text:
            text = f"<think>\n{self.thinking}\n</think>\n\n{self.output}"
            return [{"role": "assistant", "content": text}]
        return [{"role": "assistant", "content": self.output, "thinking": self.thinking}]

    def to_json(self) -> dict[str, Any]:
        """Return the row's JSON object."""
        return {
            "id": self.id,
            "instruction": self.instruction,
            "input": self.input,
            "output": self.output,
            **({"thinking": self.thinking} if self.thinking else {}),
            **({"constraints": [asdict(each) for each in self.constraints]} if self.constraints else {}),
            "is_classification": self.is_classification,
            "origin": self.origin,
            "prompt": self.prompt,
            "completion": self.completion,
            "messages": [*self.prompt, *self.completion],
        }


def rows_of(task: Task, *, thinks_in_text: bool = False) -> list[ExportedRow]:
    """Return the rows of a task, one for each instance.

    Args:
        task: the task.
        thinks_in_text: whether messages hold thinking in their text, as `<think>`, and not in a field of its own.
    """
    return [
        ExportedRow(
            f"{task.id}-{k}",
            with_constraints(task.instruction, instance.constraints),
            instance.input,
            instance.output,
            task.is_classification,
            task.origin,
            instance.thinking,
            thinks_in_text,
            instance.constraints,
        )
        for k, instance in enumerate(task.instances)
    ]


def write(path: Path, rows: Iterable[ExportedRow]) -> int:
    """Write the rows of a split atomically. Return their number."""
    return jsonl.write(path, (row.to_json() for row in rows))


def read(path: Path) -> Iterator[ExportedRow]:
    """Yield the rows of a split.

    Raises:
        InputError: the file cannot be read, or a field is missing or has another type. The message names file, line
            and field.
    """
    for number, row in jsonl.read(path):
        row = {"origin": "generated", "thinking": "", **row}
        for name in ("id", "instruction", "input", "output", "origin", "thinking"):
            if not isinstance(row.get(name), str):
                raise InputError(f"{path}, line {number}: `{name}` must be a string, got {repr(row.get(name))[:80]}")
        if not isinstance(row.get("is_classification"), bool):
            raise InputError(f"{path}, line {number}: `is_classification` must be true or false")
        yield ExportedRow(
            row["id"],
            row["instruction"],
            row["input"],
            row["output"],
            row["is_classification"],
            row["origin"],
            row["thinking"],
        )
