"""A row of any dataset family, as all readers give it and all writers take it: one conversation.

Families differ in what a row can hold. A reader fills what its family has; a writer says what its family cannot hold.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from selfinstruct.records import Instance, SeedTask, user_message

T = TypeVar("T")

USER, ASSISTANT, SYSTEM = "user", "assistant", "system"
_PLACE = re.compile(r" - at `\$\.?(.*?)`$", re.S)


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation.

    Attributes:
        role: `user`, `assistant`, `system`, or another role of the family (`tool`).
        content: its text.
        thinking: the reasoning before an assistant's text; empty if there is none.
    """

    role: str
    content: str
    thinking: str = ""


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """One conversation. The last turn is the assistant's: the answer to train on.

    Attributes:
        turns: all messages, a system message included; at least a user's and an assistant's.
        id: the row's own id; empty if it has none.
        instruction: of the last user's turn, where the family holds instruction and input apart; else empty.
        input: likewise; empty if the task needs none.
        references: further right answers to the last user's turn.
        rejected: a worse answer, of a preference dataset.
        task: name of the task that the row is an instance of.
        category: of that task.
        is_classification: whether it is a classification task; None if the family does not say.
        language: ISO 639-1 code; empty if the family does not say.
        group: rows of one group are not independent, such as the paths of one conversation tree.
    """

    turns: tuple[Turn, ...]
    id: str = ""
    instruction: str = ""
    input: str = ""
    references: tuple[str, ...] = ()
    rejected: str = ""
    task: str = ""
    category: str = ""
    is_classification: bool | None = None
    language: str = ""
    group: str = ""

    @property
    def answer(self) -> Turn:
        """Return the last turn."""
        return self.turns[-1]

    @property
    def question(self) -> Turn:
        """Return the turn before the answer."""
        return self.turns[-2]

    @property
    def system(self) -> str:
        """Return the system message; empty if there is none."""
        return self.turns[0].content if self.turns[0].role == SYSTEM else ""

    @property
    def earlier(self) -> tuple[Turn, ...]:
        """Return the turns between the system message and the question."""
        return self.turns[self.turns[0].role == SYSTEM : -2]

    @property
    def parts(self) -> tuple[str, str]:
        """Return instruction and input of the question; where the family joins them, all of it is the instruction."""
        return (self.instruction, self.input) if self.instruction else (self.question.content, "")

    @property
    def is_text(self) -> bool:
        """Return whether UTF-8 can hold all texts, as a tokenizer needs it: lone surrogates are no text."""
        try:
            texts = (t.content + t.thinking for t in self.turns)
            "".join((self.task, self.category, *self.references, self.rejected, *texts)).encode()
        except UnicodeEncodeError:
            return False
        return True

    @property
    def beyond_one_turn(self) -> list[str]:
        """Return what a family loses that holds one question and its answer."""
        lost = {
            "system message": bool(self.system),
            "earlier turns": bool(self.earlier),
            "thinking": any(turn.thinking for turn in self.turns),
            "further references": bool(self.references),
            "rejected answer": bool(self.rejected),
        }
        return [what for what, is_lost in lost.items() if is_lost]

    @property
    def alternates(self) -> bool:
        """Return whether user and assistant take turns, after a system message."""
        roles = [turn.role for turn in self.turns[self.turns[0].role == SYSTEM :]]
        return roles == [USER, ASSISTANT] * (len(roles) // 2)


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row that a reader leaves out; `reason` is a short text to be counted, such as "empty output"."""

    reason: str


Read = Iterator[DatasetRow | Dropped]


def single_turn(
    instruction: str, task_input: str, output: str, *, system: str = "", thinking: str = "", **fields: Any
) -> DatasetRow | Dropped:
    """Return the row of one question and its answer; a `Dropped` if one of them is empty.

    Args:
        instruction: what to do.
        task_input: what to do it with; may be empty.
        output: the answer.
        system: a system message; may be empty.
        thinking: the reasoning before the answer; may be empty.
        fields: further fields of `DatasetRow`.
    """
    question = Turn(USER, user_message(instruction, task_input))
    turns = (*([Turn(SYSTEM, system)] if system else []), question, Turn(ASSISTANT, output, thinking))
    return checked(DatasetRow(turns, instruction=instruction, input=task_input, **fields))


def checked(row: DatasetRow) -> DatasetRow | Dropped:
    """Return the row; a `Dropped` if it has no question, no answer, or an empty one."""
    if len(row.turns) < 2 or row.answer.role != ASSISTANT:
        return Dropped("no answer")
    if row.question.role == SYSTEM:
        return Dropped("no question")
    if not row.question.content.strip():
        return Dropped("empty question")
    return row if row.answer.content.strip() else Dropped("empty output")


def convert(value: Any, shape: type[T]) -> T:
    """Return a record as a typed value.

    Raises:
        ValueError: a field is missing or has another type. The message names it. Or the record is nested too deeply.
    """
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        text = str(error)
        field = _PLACE.search(text)
        fault = _PLACE.sub("", text)
        fault = f"{fault[:1].lower()}{fault[1:]}"
        raise ValueError(f"`{field[1]}`: {fault}" if field and field[1] else fault) from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def as_seed_tasks(rows: Iterable[DatasetRow], name: str, left_out: Counter[str]) -> list[SeedTask]:
    """Return rows as seed tasks: those with the same instruction become the instances of one task.

    A row with earlier turns is not a task and is left out. System messages are not kept.

    Args:
        rows: in order.
        name: begins the ids of the tasks.
        left_out: counts what is left out, by what it is.
    """
    instances: dict[str, list[Instance]] = {}
    first: dict[str, DatasetRow] = {}
    for row in rows:
        if row.earlier:
            left_out["conversation of several turns"] += 1
            continue
        if row.system:
            left_out["system message"] += 1
        instruction, task_input = row.parts
        first.setdefault(instruction, row)
        instance = Instance(task_input.strip(), row.answer.content.strip())
        if instance not in instances.setdefault(instruction, []):
            instances[instruction].append(instance)
    return [
        SeedTask(
            id=f"{name}_{number:06d}",
            instruction=instruction.strip(),
            instances=tuple(instances[instruction]),
            is_classification=bool(row.is_classification),
            name=row.task,
            category=row.category,
        )
        for number, (instruction, row) in enumerate(first.items(), 1)
    ]
