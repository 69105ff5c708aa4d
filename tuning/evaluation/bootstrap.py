"""Bootstrap intervals: of a mean, of the difference between two arms, and of the gap between two sets of tasks.

The tasks, not the prompts, are a sample from a world of tasks: instances of one task rise and fall together. So whole
tasks are resampled, and for both arms the same ones. `verdict.py` puts the result into words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from selfinstruct.config.later_stages import Evaluate
from selfinstruct.run.scores import Comparison, Gap, Interval

_CHUNK = 4_000_000
"""Numbers drawn at once, which bounds the memory of a bootstrap to some 100 MB."""


@dataclass(frozen=True, slots=True)
class Resampling:
    """How intervals are made.

    Attributes:
        num_resamples: bootstrap resamples of each interval.
        confidence: of the interval, in (0, 1).
        seed: the same seed resamples the same tasks.
    """

    num_resamples: int
    confidence: float
    seed: int

    @classmethod
    def of(cls, options: Evaluate, seed: int) -> Resampling:
        """Return what the options of the evaluation say."""
        return cls(options.num_resamples, options.confidence, seed)


@dataclass(frozen=True, slots=True)
class Score:
    """One answer's score, and the task whose instance it answers."""

    task: str
    value: float


def interval(totals: Sequence[float], counts: Sequence[int], resampling: Resampling) -> Interval:
    """Return the percentile bootstrap interval of a mean over instances, resampling tasks.

    Args:
        totals: (tasks,) sum of the values of each task's instances.
        counts: (tasks,) number of its instances, at least 1.
        resampling: how often, with which confidence and seed.
    """
    means = _resampled(totals, counts, resampling.num_resamples, np.random.default_rng(resampling.seed))
    return _bounds(means, resampling.confidence)


def _resampled(
    totals: Sequence[float], counts: Sequence[int], num_resamples: int, generator: np.random.Generator
) -> np.ndarray:
    """Return (num_resamples,) means over instances, each of as many tasks as there are, drawn with replacement."""
    values, weights = np.asarray(totals, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    means, chunk = [], max(1, _CHUNK // len(values))
    for start in range(0, num_resamples, chunk):
        drawn = generator.integers(len(values), size=(min(chunk, num_resamples - start), len(values)))
        means.append(values[drawn].sum(axis=1) / weights[drawn].sum(axis=1))
    return np.concatenate(means)


def _bounds(means: np.ndarray, confidence: float) -> Interval:
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def least_tasks(confidence: float) -> int:
    """Return the fewest tasks that can show a difference: with fewer, even one sign on all of them is within chance.

    >>> least_tasks(0.95)
    6
    """
    return math.ceil(1 - math.log2(1 - confidence))


def mean_interval(scores: Mapping[str, Score], resampling: Resampling) -> Interval:
    """Return the interval of one arm's mean score, rounded to 6 digits; the keys are questions."""
    totals, counts = _by_task([(score.task, score.value) for score in scores.values()])
    low, high = interval(totals, counts, resampling)
    return round(low, 6), round(high, 6)


def compare(
    set_name: str,
    metric: str,
    a: tuple[str, Mapping[str, Score]],
    b: tuple[str, Mapping[str, Score]],
    resampling: Resampling,
) -> Comparison | None:
    """Return the difference a - b over the questions that both arms answered; None when there are none.

    Args:
        set_name: the set of tasks.
        metric: the name of the metric of the scores.
        a: name of the first arm, and its scores by question.
        b: the same of the second arm.
        resampling: how often, with which confidence and seed.
    """
    (name_a, scores_a), (name_b, scores_b) = a, b
    pairs = [(score.task, score.value) for score in subtract(scores_a, scores_b).values()]
    if not pairs:
        return None
    totals, counts = _by_task(pairs)
    low, high = interval(totals, counts, resampling)
    return Comparison(
        set=set_name,
        metric=metric,
        a=name_a,
        b=name_b,
        difference=round(sum(totals) / len(pairs), 6),
        low=round(low, 6),
        high=round(high, 6),
        confidence=resampling.confidence,
        n=len(pairs),
        n_tasks=len(totals),
        significant=not low <= 0 <= high and len(totals) >= least_tasks(resampling.confidence),
    )


def gap(seen: Mapping[str, Score], unseen: Mapping[str, Score], resampling: Resampling) -> Gap | None:
    """Return how much better an arm is on tasks it was trained on than on others; None where a set is empty.

    The two sets differ in difficulty too: the gap of a model that was trained on neither shows by how much. Scores may
    be differences between two arms, question by question: the gap is then the gain on seen tasks minus that on unseen
    ones.

    Args:
        seen: scores on tasks that were trained on, by question.
        unseen: scores on other tasks, by question.
        resampling: how often, with which confidence and seed.
    """
    if not seen or not unseen:
        return None
    generator = np.random.default_rng(resampling.seed)
    sides = [_by_task([(score.task, score.value) for score in scores.values()]) for scores in (seen, unseen)]
    of_seen, of_unseen = (_resampled(*side, resampling.num_resamples, generator) for side in sides)
    low, high = _bounds(of_seen - of_unseen, resampling.confidence)
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


def subtract(a: Mapping[str, Score], b: Mapping[str, Score]) -> dict[str, Score]:
    """Return a - b, question by question, where both have an answer."""
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
