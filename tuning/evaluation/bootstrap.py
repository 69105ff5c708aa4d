"""Did the data help? Differences between arms, and between sets, with bootstrap intervals. `verdict.py` words them.

The tasks are what is sampled from a world of tasks, not the prompts: instances of one task rise and fall together. So
whole tasks are resampled, and for both arms the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_CHUNK = 4_000_000
"""Numbers drawn at once, which bounds the memory of a bootstrap to some 100 MB."""

BASE, FEW_SHOT, SEEDS_ONLY, TUNED = "base", "base-few-shot", "seeds-only", "tuned"
"""The arms that the verdict knows; others are compared with the tuned model and shown."""


@dataclass(frozen=True, slots=True)
class Score:
    """One answer's score, and the task whose instance it answers."""

    task: str
    value: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Arm `a` minus arm `b` on one set of tasks, in points of the metric, with a two-sided interval.

    `shown` says whether there is a difference to speak of: the interval leaves out 0, and there are enough tasks for an
    interval of this confidence (see `least_tasks`).
    """

    set: str
    metric: str
    a: str
    b: str
    difference: float
    low: float
    high: float
    confidence: float
    n: int
    n_tasks: int
    shown: bool


def interval(
    totals: Sequence[float], counts: Sequence[int], *, num_resamples: int, confidence: float, seed: int
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean over instances, resampling tasks.

    Args:
        totals: (tasks,) sum of the values of each task's instances.
        counts: (tasks,) number of its instances, at least 1.
        num_resamples: bootstrap resamples.
        confidence: in (0, 1).
        seed: of the resampling; the same seed resamples the same tasks.
    """
    return _bounds(_resampled(totals, counts, num_resamples, np.random.default_rng(seed)), confidence)


def _resampled(
    totals: Sequence[float], counts: Sequence[int], num_resamples: int, generator: np.random.Generator
) -> np.ndarray:
    """(num_resamples,) means over instances, each of as many tasks drawn with replacement."""
    values, weights = np.asarray(totals, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    means, chunk = [], max(1, _CHUNK // len(values))
    for start in range(0, num_resamples, chunk):
        drawn = generator.integers(len(values), size=(min(chunk, num_resamples - start), len(values)))
        means.append(values[drawn].sum(axis=1) / weights[drawn].sum(axis=1))
    return np.concatenate(means)


def _bounds(means: np.ndarray, confidence: float) -> tuple[float, float]:
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def least_tasks(confidence: float) -> int:
    """Fewest tasks that could show a difference at all: with fewer, even one sign on all of them is within chance.

    >>> least_tasks(0.95)
    6
    """
    return math.ceil(1 - math.log2(1 - confidence))


def mean_interval(
    scores: Mapping[str, Score], *, num_resamples: int, confidence: float, seed: int
) -> tuple[float, float]:
    """Interval of one arm's mean score, by question."""
    totals, counts = _by_task([(score.task, score.value) for score in scores.values()])
    return interval(totals, counts, num_resamples=num_resamples, confidence=confidence, seed=seed)


def compare(
    set_name: str,
    metric: str,
    a: tuple[str, Mapping[str, Score]],
    b: tuple[str, Mapping[str, Score]],
    *,
    num_resamples: int,
    confidence: float,
    seed: int,
) -> Comparison | None:
    """The difference a - b over the questions that both arms answered; None when there are none.

    Args:
        set_name: the set of tasks.
        metric: what the scores are.
        a: name and scores by question of the one arm.
        b: of the other.
        num_resamples: bootstrap resamples.
        confidence: of the interval, in (0, 1).
        seed: of the resampling.
    """
    (name_a, scores_a), (name_b, scores_b) = a, b
    pairs = [(score.task, score.value) for score in less(scores_a, scores_b).values()]
    if not pairs:
        return None
    totals, counts = _by_task(pairs)
    low, high = interval(totals, counts, num_resamples=num_resamples, confidence=confidence, seed=seed)
    return Comparison(
        set=set_name,
        metric=metric,
        a=name_a,
        b=name_b,
        difference=round(sum(totals) / len(pairs), 6),
        low=round(low, 6),
        high=round(high, 6),
        confidence=confidence,
        n=len(pairs),
        n_tasks=len(totals),
        shown=not low <= 0 <= high and len(totals) >= least_tasks(confidence),
    )


@dataclass(frozen=True, slots=True)
class Gap:
    """Mean score on seen tasks minus that on unseen ones, with a two-sided interval; both sets are resampled."""

    seen: float
    unseen: float
    difference: float
    low: float
    high: float
    seen_tasks: int
    unseen_tasks: int


def gap(
    seen: Mapping[str, Score], unseen: Mapping[str, Score], *, num_resamples: int, confidence: float, seed: int
) -> Gap | None:
    """How much better an arm is on tasks it was trained on than on tasks it never saw; None where a set is empty.

    The two sets differ in difficulty too: the gap of a model that was trained on neither shows by how much. Scores may
    be differences between two arms, question by question: that is then the gain on seen tasks over that on unseen ones.
    """
    if not seen or not unseen:
        return None
    generator = np.random.default_rng(seed)
    sides = [_by_task([(score.task, score.value) for score in scores.values()]) for scores in (seen, unseen)]
    of_seen, of_unseen = (_resampled(totals, counts, num_resamples, generator) for totals, counts in sides)
    low, high = _bounds(of_seen - of_unseen, confidence)
    means = [sum(totals) / sum(counts) for totals, counts in sides]
    return Gap(
        seen=round(means[0], 6),
        unseen=round(means[1], 6),
        difference=round(means[0] - means[1], 6),
        low=round(low, 6),
        high=round(high, 6),
        seen_tasks=len(sides[0][0]),
        unseen_tasks=len(sides[1][0]),
    )


def less(a: Mapping[str, Score], b: Mapping[str, Score]) -> dict[str, Score]:
    """a - b, question by question, where both have an answer."""
    return {
        question: Score(score.task, score.value - b[question].value) for question, score in a.items() if question in b
    }


def _by_task(values: Sequence[tuple[str, float]]) -> tuple[list[float], list[int]]:
    totals: dict[str, float] = {}
    counts: dict[str, int] = {}
    for task, value in values:
        totals[task] = totals.get(task, 0.0) + value
        counts[task] = counts.get(task, 0) + 1
    return list(totals.values()), list(counts.values())
