"""Bootstrap intervals against independent computations."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from selfinstruct.run.scores import Comparison
from tests.heavy import Heavy
from tuning.evaluation import bootstrap
from tuning.evaluation.bootstrap import Resampling, Score

stats = Heavy("scipy.stats")

OPTIONS = Resampling(num_resamples=20_000, confidence=0.95, seed=3)


def test_interval_agrees_with_scipy() -> None:
    """Clusters of unequal size: scipy resamples (total, count) pairs and recomputes the ratio."""
    generator = np.random.default_rng(0)
    counts = generator.integers(1, 5, size=40)
    totals = generator.normal(2.0, 8.0, size=40) * counts
    expected = stats.bootstrap(
        (totals, counts),
        lambda t, n, axis=-1: t.sum(axis=axis) / n.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        confidence_level=0.9,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    low, high = bootstrap.interval(list(totals), list(counts), replace(OPTIONS, confidence=0.9))
    width = expected.high - expected.low
    assert low == pytest.approx(expected.low, abs=0.03 * width)
    assert high == pytest.approx(expected.high, abs=0.03 * width)


def test_interval_agrees_with_every_resample_there_is() -> None:
    """Four tasks have 4^4 equally likely resamples: the exact bootstrap distribution."""
    totals, counts = [1.0, -2.0, 9.0, 4.0], [1, 2, 3, 1]
    exact = [sum(totals[k] for k in drawn) / sum(counts[k] for k in drawn) for drawn in product(range(4), repeat=4)]
    low, high = bootstrap.interval(totals, counts, Resampling(50_000, 0.8, seed=0))
    assert low == pytest.approx(np.quantile(exact, 0.1), abs=0.05)
    assert high == pytest.approx(np.quantile(exact, 0.9), abs=0.05)


def test_interval_does_not_depend_on_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    values = ([float(k) for k in range(10)], [1] * 10)
    whole = bootstrap.interval(*values, Resampling(1000, 0.95, seed=5))
    monkeypatch.setattr(bootstrap, "_CHUNK", 70)
    assert bootstrap.interval(*values, Resampling(1000, 0.95, seed=5)) == whole
    assert bootstrap.interval(*values, Resampling(1000, 0.95, seed=6)) != whole


def scores(values: list[float], tasks: list[str] | None = None) -> dict[str, Score]:
    tasks = tasks or [f"t{k}" for k in range(len(values))]
    return {f"q{k}": Score(task, value) for k, (task, value) in enumerate(zip(tasks, values, strict=True))}


def compared(a: dict[str, Score], b: dict[str, Score], **options: Any) -> Comparison:
    found = bootstrap.compare("set", "rouge_l", ("a", a), ("b", b), replace(OPTIONS, **options))
    assert found is not None
    return found


def test_pairing_finds_what_two_separate_means_hide() -> None:
    """Tasks differ by far more than the arms do: only differences within tasks show it."""
    draw = random.Random(1)
    base = [draw.uniform(0, 100) for _ in range(60)]
    tuned = [value + draw.uniform(0, 4) for value in base]
    found = compared(scores(tuned), scores(base))
    assert found.significant
    assert 1 < found.low < found.difference < found.high < 3
    alone = bootstrap.mean_interval(scores(tuned), OPTIONS)
    assert alone[1] - alone[0] > 5 * (found.high - found.low)


def test_instances_of_a_task_are_one_piece_of_evidence() -> None:
    draw = random.Random(2)
    by_task = [draw.gauss(3, 10) for _ in range(30)]
    repeated = [value for value in by_task for _ in range(10)]
    tasks = [f"t{k}" for k in range(30) for _ in range(10)]
    zero = [0.0] * 300
    clustered = compared(scores(repeated, tasks), scores(zero, tasks))
    pretended = compared(scores(repeated), scores(zero))
    once = compared(scores(by_task), scores([0.0] * 30))
    assert (clustered.n, clustered.n_tasks) == (300, 30)
    assert clustered.difference == pytest.approx(once.difference)
    assert (clustered.low, clustered.high) == pytest.approx((once.low, once.high))
    assert pretended.high - pretended.low < 0.5 * (clustered.high - clustered.low)


def test_every_instance_counts_alike_in_the_difference() -> None:
    found = compared(scores([9, 1, 1, 1], ["x", "y", "y", "y"]), scores([0, 0, 0, 0], ["x", "y", "y", "y"]))
    assert found.difference == 3
    assert found.n_tasks == 2


def test_the_interval_covers_as_often_as_it_says() -> None:
    generator = np.random.default_rng(8)
    hits = 0
    for trial in range(300):
        totals = list(generator.normal(1.0, 5.0, size=50))
        low, high = bootstrap.interval(totals, [1] * 50, Resampling(400, 0.9, seed=trial))
        hits += low <= 1.0 <= high
    assert 0.85 <= hits / 300 <= 0.95


def test_equal_arms_show_nothing() -> None:
    found = compared(scores([1.0, 2.0] * 10), scores([1.0, 2.0] * 10))
    assert (found.difference, found.low, found.high, found.significant) == (0, 0, 0, False)


def test_only_questions_that_both_answered_are_compared() -> None:
    assert compared(scores([5.0] * 8), scores([1.0] * 10)).n == 8
    assert bootstrap.compare("set", "rouge_l", ("a", {}), ("b", scores([1.0])), OPTIONS) is None


@pytest.mark.parametrize(("confidence", "least"), [(0.5, 2), (0.9, 5), (0.95, 6), (0.99, 8)])
def test_a_few_tasks_show_nothing_however_large(confidence: float, least: int) -> None:
    assert bootstrap.least_tasks(confidence) == least
    assert not compared(scores([90.0] * (least - 1)), scores([0.0] * (least - 1)), confidence=confidence).significant
    assert compared(scores([90.0] * least), scores([0.0] * least), confidence=confidence).significant


# --------------------------------------------------------------------------------------------------- gap


def test_gap_agrees_with_scipy() -> None:
    """Two independent samples."""
    generator = np.random.default_rng(4)
    seen, unseen = generator.normal(30, 9, size=50), generator.normal(22, 9, size=70)
    expected = stats.bootstrap(
        (seen, unseen),
        lambda a, b, axis=-1: a.mean(axis=axis) - b.mean(axis=axis),
        vectorized=True,
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    found = bootstrap.gap(scores(list(seen)), scores(list(unseen)), OPTIONS)
    assert found is not None
    assert found.difference == pytest.approx(seen.mean() - unseen.mean(), abs=1e-6)
    assert (found.seen_tasks, found.unseen_tasks) == (50, 70)
    assert found.low == pytest.approx(expected.low, abs=0.03 * (expected.high - expected.low))
    assert found.high == pytest.approx(expected.high, abs=0.03 * (expected.high - expected.low))


def test_the_two_sets_of_a_gap_are_resampled_apart() -> None:
    """Equal values in both would cancel if the same tasks were drawn for both."""
    values = [float(k) for k in range(40)]
    found = bootstrap.gap(scores(values), scores(values), OPTIONS)
    assert found is not None
    assert found.difference == 0
    assert found.high - found.low > 5


def test_no_gap_without_both_sets() -> None:
    assert bootstrap.gap({}, scores([1.0]), OPTIONS) is None
    assert bootstrap.gap(scores([1.0]), {}, OPTIONS) is None


def test_subtract_keeps_what_both_answered() -> None:
    assert bootstrap.subtract(scores([3.0, 4.0]), scores([1.0])) == {"q0": Score("t0", 2.0)}
