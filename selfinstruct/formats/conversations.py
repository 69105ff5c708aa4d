"""Rows in the prompt-completion form of TRL's `SFTTrainer`, from an export or from any other dataset:

    {"id": "p000001-02-0", "instruction": "Name the capital.",
     "prompt": [{"role": "user", "content": "Name the capital.\\n\\nKenya"}],
     "completion": [{"role": "assistant", "content": "Nairobi"}]}

Only `prompt` and `completion` are needed; other fields are ignored. An `ExportedRow` is written in this form too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfinstruct.formats import jsonl
from selfinstruct.records import Message


@dataclass(frozen=True, slots=True)
class Conversation:
    """A row to train on.

    Attributes:
        id: the row's, or its line number where the dataset has no such field.
        prompt: the messages that the model gets; at least one.
        completion: the messages that it should answer; at least one, and turns of other roles may be among them.
        instruction: empty where the dataset has no such field.
    """

    id: str
    prompt: tuple[Message, ...]
    completion: tuple[Message, ...]
    instruction: str = ""


def read(path: Path) -> tuple[list[Conversation], list[str]]:
    """Return the rows of a file and its problems: one message for each invalid row, with file, line and field.

    Raises:
        InputError: the file cannot be read, or a line holds no JSON object.
    """
    rows, problems = [], []
    for number, row in jsonl.read(path):
        invalid = [name for name in ("prompt", "completion") if not _are_messages(row.get(name))]
        if invalid:
            problems.append(
                f"{path}, line {number}: {' and '.join(f'`{name}`' for name in invalid)} must be a list of messages "
                f'[{{"role": "user", "content": "..."}}], got {str(row.get(invalid[0]))[:80]!r}'
            )
        else:
            instruction = row.get("instruction")
            rows.append(
                Conversation(
                    str(row.get("id", number)),
                    tuple(row["prompt"]),
                    tuple(row["completion"]),
                    instruction if isinstance(instruction, str) else "",
                )
            )
    return rows, problems


def _are_messages(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(m, dict) and isinstance(m.get("role"), str) and isinstance(m.get("content"), str) for m in value
        )
    )
