"""Hold tasks or categories of a mixture out of training, to compare seen with unseen ones.

Whole tasks (or categories) are unseen; of the others one question in twenty is kept out of training, and asks what the
model does on tasks that it was trained on. Which ones follows from the seed and their names and texts alone.

An unseen task may have a twin of another name, or share its inputs with one: what is near its questions is not trained
on either.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from selfinstruct import text_hash
from selfinstruct.formats.evaluation_tasks import EvaluationText
from selfinstruct.formats.families.dataset_row import DatasetRow

HeldOutBy = Literal["task", "category"]
Side = Literal["", "seen", "unseen", "spare"]

SEEN_SHARE = 0.05
"""Share of the questions of seen tasks that are kept out of training."""

MOST_QUESTIONS = 20
"""Most questions of each task, so that no large task decides alone."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What is held out.

    Attributes:
        by: whether tasks or whole categories are unseen.
        units: the unseen ones.
        seed: of the choice.
        spare: those that are neither trained on nor asked.
    """

    by: HeldOutBy
    units: frozenset[str]
    seed: int
    spare: frozenset[str] = frozenset()

    @classmethod
    def choose(
        cls, by: HeldOutBy, share: float, seed: int, rows: Iterable[DatasetRow], most_seen: int | None = None
    ) -> HeldOut:
        """Choose the unseen tasks or categories: a share of all, rounded up.

        Args:
            by: what to hold out.
            share: of the tasks or categories, in (0, 1).
            seed: of the choice.
            rows: of the mixture.
            most_seen: most tasks or categories to train on, of which fewer are always among more; None: all others.

        Raises:
            ValueError: the rows name fewer than two of them.
        """
        units = {unit for row in rows if (unit := _unit(row, by))}
        if len(units) < 2:
            raise ValueError(f"the mixture names {len(units)} {by}; to hold some out takes at least two")
        in_order = sorted(units, key=lambda unit: (text_hash.share(f"{seed}/{by}/{unit}"), unit))
        num_unseen = min(math.ceil(share * len(units)), len(units) - 1)
        spare = in_order[num_unseen + most_seen :] if most_seen is not None else []
        return cls(by, frozenset(in_order[:num_unseen]), seed, frozenset(spare))

    def side(self, row: DatasetRow) -> Side:
        """Return which side a row is asked on; empty for a row to train on, such as one that names no task."""
        if not (unit := _unit(row, self.by)):
            return ""
        if unit in self.spare:
            return "spare"
        if unit in self.units:
            return "unseen"
        return "seen" if text_hash.share(f"{self.seed}/{unit}/{row.question.content}") < SEEN_SHARE else ""

    def asked(self, rows: Iterable[DatasetRow]) -> Iterator[tuple[int, Side, DatasetRow]]:
        """Yield the rows of a source that may be asked, each with its position and its side.

        They are the first of each task on each side; a row with earlier turns or a system message is no question.
        """
        counts: Counter[tuple[Side, str]] = Counter()
        for position, row in enumerate(rows):
            side = self.side(row)
            can_be_asked = side in ("seen", "unseen") and not row.earlier and not row.system and row.is_text
            if can_be_asked and counts[side, row.task] < MOST_QUESTIONS:
                counts[side, row.task] += 1
                yield position, side, row

    def unseen(self, rows: Iterable[DatasetRow]) -> Iterator[EvaluationText]:
        """Yield the texts of the unseen questions of a source. A question without an input is its own input."""
        inputs: dict[tuple[str, str], list[str]] = {}
        for _, side, row in self.asked(rows):
            if side == "unseen":
                instruction, task_input = row.parts
                inputs.setdefault((row.task or row.category, instruction), []).append(task_input or instruction)
        for (task, instruction), of_task in inputs.items():
            yield EvaluationText(task, instruction, tuple(of_task))


def _unit(row: DatasetRow, by: HeldOutBy) -> str:
    return row.task if by == "task" else row.category
