"""Checks that training rows do not contain what the model is judged by: else its loss and scores look too good."""

from __future__ import annotations

from collections.abc import Sequence

from selfinstruct.errors import InputError
from selfinstruct.formats import evaluation_tasks
from selfinstruct.formats.conversations import Conversation
from selfinstruct.novelty import NoveltyIndex
from selfinstruct.run.training_record import Finding
from tuning.training.findings import of_rows

THRESHOLD = 0.7
"""Two instructions with a ROUGE-L F above this ask the same; the export leaves out rows by the same measure."""


def of_validation(train: Sequence[Conversation], held_out: Sequence[Conversation]) -> list[Finding]:
    """Find training rows whose prompt is also in the validation split of unseen tasks."""
    prompts = {_prompt(row) for row in held_out}
    return of_rows(
        "leak",
        [row for row in train if _prompt(row) in prompts],
        lambda n: f"{n} training rows have the prompt of a validation_unseen row: its loss will look better than it is",
    )


def of_evaluation(train: Sequence[Conversation], names: Sequence[str]) -> list[Finding]:
    """Find training rows whose instruction is that of an evaluation task, or close to it.

    A row without an instruction is compared by the text of its last user message. A task file that cannot be read is a
    finding of its own.

    Args:
        train: the training rows.
        names: as in `evaluate.tasks`.
    """
    findings: list[Finding] = []

    def unread(error: InputError) -> None:
        findings.append(Finding("evaluation_unread", f"training rows were not compared with it: {error}"))

    instructions = [text.instruction for text in evaluation_tasks.load_evaluation_texts(names, unread)]
    if not instructions or not train:
        return findings
    distinct = list(dict.fromkeys(map(instruction_of, train)))
    nearest = NoveltyIndex(instructions, THRESHOLD).nearest_many(distinct)
    near = {text for text, (neighbour, *_) in zip(distinct, nearest, strict=True) if neighbour.score > THRESHOLD}
    known = set(instructions)
    same = sum(instruction_of(row) in known for row in train)
    return findings + of_rows(
        "evaluation_leak",
        [row for row in train if instruction_of(row) in near],
        lambda n: (
            f"{n} training rows have the instruction of an evaluation task, or one with a ROUGE-L F above {THRESHOLD} "
            f"to it ({same} word for word): the scores will look better than the model is; leave them out"
        ),
    )


def _prompt(row: Conversation) -> tuple[tuple[str, str], ...]:
    return tuple((message["role"], message["content"].strip()) for message in row.prompt)


def instruction_of(row: Conversation) -> str:
    """Return the instruction of a row; the text of its last user message where it has none."""
    return row.instruction or next((m["content"] for m in reversed(row.prompt) if m["role"] == "user"), "")
