"""Did the data help? Differences between arms with paired bootstrap intervals, and the sentence they support.

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

_BASELINES = {
    BASE: "the base model",
    FEW_SHOT: "the base model with examples in its prompt",
    SEEDS_ONLY: "the model tuned on the seeds alone",
}


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
    values, weights = np.asarray(totals, dtype=np.float64), np.asarray(counts, dtype=np.float64)
    generator = np.random.default_rng(seed)
    means, chunk = [], max(1, _CHUNK // len(values))
    for start in range(0, num_resamples, chunk):
        drawn = generator.integers(len(values), size=(min(chunk, num_resamples - start), len(values)))
        means.append(values[drawn].sum(axis=1) / weights[drawn].sum(axis=1))
    low, high = np.quantile(np.concatenate(means), [(1 - confidence) / 2, (1 + confidence) / 2])
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
    pairs = [(s.task, s.value - scores_b[question].value) for question, s in scores_a.items() if question in scores_b]
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


def _by_task(values: Sequence[tuple[str, float]]) -> tuple[list[float], list[int]]:
    totals: dict[str, float] = {}
    counts: dict[str, int] = {}
    for task, value in values:
        totals[task] = totals.get(task, 0.0) + value
        counts[task] = counts.get(task, 0) + 1
    return list(totals.values()), list(counts.values())


def verdict(comparisons: Sequence[Comparison], sets: Sequence[str], arms: Sequence[str]) -> str:
    """What may be said about the tuned model, and no more: one sentence for each set of tasks, by ROUGE-L.

    Args:
        comparisons: all that were made.
        sets: the sets that it may rest on: tasks that neither the generator wrote nor the training used.
        arms: the arms that were evaluated.
    """
    if TUNED not in arms:
        return "No verdict: there is no tuned model."
    if not sets:
        return "No verdict: there are no evaluation tasks but those that the generator wrote."
    if not any(arm in _BASELINES for arm in arms):
        return "No verdict: there is no baseline to compare the tuned model with."
    relevant = [c for c in comparisons if c.metric == "rouge_l" and c.a == TUNED and c.b in _BASELINES]
    return " ".join(_sentence([c for c in relevant if c.set == name]) for name in sets)


def _sentence(found: Sequence[Comparison]) -> str:
    """The verdict on one set."""
    first = found[0]
    where = f"on the {first.n_tasks} task{'s' if first.n_tasks > 1 else ''} of {first.set}"
    confidence = f"{100 * first.confidence:g} %"
    if first.n_tasks < (needed := least_tasks(first.confidence)):
        return f"No difference shown {where}: {confidence} confidence needs at least {needed} tasks."
    better = [c for c in found if c.shown and c.difference > 0]
    worse = [c for c in found if c.shown and c.difference < 0]
    if len(better) == len(found):
        # Only a model tuned on the seeds alone can tell what the data did from what any tuning would have done.
        subject = "The generated data" if any(c.b == SEEDS_ONLY for c in found) else "Tuning on the generated data"
        headline = f"{subject} helped {where}"
    elif worse and better:
        headline = f"The tuned model is better than some baselines and worse than others {where}"
    elif worse:
        headline = f"The tuned model is worse {where}"
    elif better:
        headline = f"The tuned model is better than some baselines, not than all, {where}"
    else:
        headline = f"No difference shown {where}"
    return f"{headline}: {'; '.join(_clause(c) for c in found)} (ROUGE-L, {confidence} intervals)."


def _clause(found: Comparison) -> str:
    relation = "against" if found.shown and found.difference < 0 else "over"
    return f"{_points(found)} {relation} {_BASELINES[found.b]}{'' if found.shown else ', which includes 0'}"


def _points(found: Comparison) -> str:
    return f"{found.difference:+.1f} [{found.low:.1f}, {found.high:.1f}]"
