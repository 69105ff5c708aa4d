"""Hold tasks or categories of a mixture out of training, to compare seen with unseen ones.

Whole tasks (or categories) are unseen; of the others one question in twenty is kept out of training, and asks what the
model does on tasks that it was trained on. Which ones follows from the seed and their names and texts alone.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from selfinstruct.formats.families.row import DatasetRow

HeldOutBy = Literal["task", "category"]
Side = Literal["", "seen", "unseen"]

SEEN_SHARE = 0.05
"""Share of the questions of seen tasks that are kept out of training."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What is held out.

    Attributes:
        by: whether tasks or whole categories are unseen.
        units: the unseen ones.
        seed: of the choice.
    """

    by: HeldOutBy
    units: frozenset[str]
    seed: int

    @classmethod
    def choose(cls, by: HeldOutBy, share: float, seed: int, rows: Iterable[DatasetRow]) -> HeldOut:
        """Choose the unseen tasks or categories: a share of all, rounded up.

        Args:
            by: what to hold out.
            share: of the tasks or categories, in (0, 1).
            seed: of the choice.
            rows: of the mixture.

        Raises:
            ValueError: the rows name fewer than two of them.
        """
        units = {unit for row in rows if (unit := _unit(row, by))}
        if len(units) < 2:
            raise ValueError(f"the mixture names {len(units)} {by}; to hold some out takes at least two")
        in_order = sorted(units, key=lambda unit: (_number(f"{seed}/{by}/{unit}"), unit))
        return cls(by, frozenset(in_order[: min(math.ceil(share * len(units)), len(units) - 1)]), seed)

    def side(self, row: DatasetRow) -> Side:
        """Return which side a row is asked on; empty for a row to train on, such as one that names no task."""
        if not (unit := _unit(row, self.by)):
            return ""
        if unit in self.units:
            return "unseen"
        return "seen" if _number(f"{self.seed}/{unit}/{row.question.content}") < SEEN_SHARE else ""


def _unit(row: DatasetRow, by: HeldOutBy) -> str:
    return row.task if by == "task" else row.category


def _number(text: str) -> float:
    """Return a number in [0, 1) that is always the same for a text."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") / 2**64
