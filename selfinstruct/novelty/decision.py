"""The decisions of the novelty filter, and the arithmetic of ROUGE-L behind them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from selfinstruct.gc_paused import gc_paused

if TYPE_CHECKING:
    import numpy as np

Reason: TypeAlias = Literal["identical", "near_duplicate"]


_REASONS: tuple[Reason, Reason] = ("near_duplicate", "identical")  # By whether F is 1.


class Neighbour(NamedTuple):
    """An earlier text by its position (seeds first, from 0) and its exact ROUGE-L F."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody asks a neighbour for
    score: float


class Verdict(NamedTuple):
    """Decision on one candidate, with its evidence.

    `reason` is "identical" for the same words in the same order (F = 1; case, spacing and punctuation make no
    difference) and "near_duplicate" for any other F above the threshold. `nearest` is, for a rejected candidate, the
    nearest earlier text (ties: the earliest); for an accepted one the nearest seed, or None when there are no seeds.
    """

    accepted: bool
    reason: Reason | None
    nearest: Neighbour | None


def rouge_l(lcs: int, m: int, n: int) -> float:
    """Return the ROUGE-L F-measure of two texts, in [0, 1]: the same float as rouge_score.

    It corresponds to rouge_score's score(target=earlier, prediction=candidate): P = lcs / n and R = lcs / m. The float
    is the same with m and n exchanged: doubling is exact, and both a * b and a + b commute.

    Args:
        lcs: tokens of the longest common subsequence.
        m: tokens of the earlier text.
        n: tokens of the candidate.
    """
    if lcs == 0:
        return 0.0
    precision, recall = lcs / n, lcs / m
    return 2 * precision * recall / (precision + recall)


class Decisions(NamedTuple):
    """Decisions on many candidates as columns. Columns take less time to make than a `Verdict` for each.

    `index` and `score` are those of `Verdict.nearest`; -1 for none.
    """

    accepted: np.ndarray[Any, np.dtype[np.bool_]]
    index: np.ndarray[Any, np.dtype[np.int64]]  # type: ignore[assignment]
    score: np.ndarray[Any, np.dtype[np.float64]]

    def verdicts(self) -> list[Verdict]:
        """Return the decisions as rows."""
        return rows(self.accepted.tolist(), self.index.tolist(), self.score.tolist())


def rows(accepted: list[bool], index: list[int], score: list[float]) -> list[Verdict]:
    """Return columns as rows. Rows are made without their constructors, which takes a third of the time.

    Args:
        accepted: of each candidate.
        index: of its nearest text; -1 for none.
        score: of the two.
    """
    reasons = [None if a else _REASONS[s == 1.0] for a, s in zip(accepted, score, strict=True)]
    with gc_paused():
        near: Iterable[Neighbour | None] = map(partial(tuple.__new__, Neighbour), zip(index, score, strict=True))
        if min(index, default=0) < 0:
            near = [neighbour if neighbour and neighbour.index >= 0 else None for neighbour in near]
        return list(map(partial(tuple.__new__, Verdict), zip(accepted, reasons, near, strict=True)))


def verdict(accepted: bool, nearest: Neighbour) -> Verdict:
    """Return the verdict for a decision and its nearest text (index -1: there is none)."""
    if accepted:
        return Verdict(True, None, nearest if nearest.index >= 0 else None)
    return Verdict(False, _REASONS[nearest.score == 1.0], nearest)


def columns(verdicts: Sequence[Verdict]) -> Decisions:
    """Return verdicts as columns."""
    import numpy as np

    near = [verdict.nearest or Neighbour(-1, -1.0) for verdict in verdicts]
    return Decisions(
        np.array([verdict.accepted for verdict in verdicts], np.bool_),
        np.array([neighbour.index for neighbour in near], np.int64),
        np.array([neighbour.score for neighbour in near], np.float64),
    )
