"""Bootstrap intervals against independent computations, and every branch of the verdict."""

from __future__ import annotations

import random
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tuning import compare
from tuning.compare import BASE, FEW_SHOT, SEEDS_ONLY, TUNED, Comparison, Score

OPTIONS: dict[str, Any] = {"num_resamples": 20_000, "confidence": 0.95, "seed": 3}


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
    low, high = compare.interval(list(totals), list(counts), num_resamples=20_000, confidence=0.9, seed=3)
    width = expected.high - expected.low
    assert low == pytest.approx(expected.low, abs=0.03 * width)
    assert high == pytest.approx(expected.high, abs=0.03 * width)


def test_interval_agrees_with_every_resample_there_is() -> None:
    """Four tasks have 4^4 equally likely resamples: the exact bootstrap distribution."""
    totals, counts = [1.0, -2.0, 9.0, 4.0], [1, 2, 3, 1]
    exact = [sum(totals[k] for k in drawn) / sum(counts[k] for k in drawn) for drawn in product(range(4), repeat=4)]
    low, high = compare.interval(totals, counts, num_resamples=50_000, confidence=0.8, seed=0)
    assert low == pytest.approx(np.quantile(exact, 0.1), abs=0.05)
    assert high == pytest.approx(np.quantile(exact, 0.9), abs=0.05)


def test_interval_does_not_depend_on_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    values = ([float(k) for k in range(10)], [1] * 10)
    whole = compare.interval(*values, num_resamples=1000, confidence=0.95, seed=5)
    monkeypatch.setattr(compare, "_CHUNK", 70)
    assert compare.interval(*values, num_resamples=1000, confidence=0.95, seed=5) == whole
    assert compare.interval(*values, num_resamples=1000, confidence=0.95, seed=6) != whole


def scores(values: list[float], tasks: list[str] | None = None) -> dict[str, Score]:
    tasks = tasks or [f"t{k}" for k in range(len(values))]
    return {f"q{k}": Score(task, value) for k, (task, value) in enumerate(zip(tasks, values, strict=True))}


def compared(a: dict[str, Score], b: dict[str, Score], **options: Any) -> Comparison:
    found = compare.compare("set", "rouge_l", ("a", a), ("b", b), **(OPTIONS | options))
    assert found is not None
    return found


def test_pairing_finds_what_two_separate_means_hide() -> None:
    """Tasks differ by far more than the arms do: only differences within tasks show it."""
    draw = random.Random(1)
    base = [draw.uniform(0, 100) for _ in range(60)]
    tuned = [value + draw.uniform(0, 4) for value in base]
    found = compared(scores(tuned), scores(base))
    assert found.shown
    assert 1 < found.low < found.difference < found.high < 3
    alone = compare.mean_interval(scores(tuned), **OPTIONS)
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
        low, high = compare.interval(totals, [1] * 50, num_resamples=400, confidence=0.9, seed=trial)
        hits += low <= 1.0 <= high
    assert 0.85 <= hits / 300 <= 0.95


def test_equal_arms_show_nothing() -> None:
    found = compared(scores([1.0, 2.0] * 10), scores([1.0, 2.0] * 10))
    assert (found.difference, found.low, found.high, found.shown) == (0, 0, 0, False)


def test_only_questions_that_both_answered_are_compared() -> None:
    assert compared(scores([5.0] * 8), scores([1.0] * 10)).n == 8
    assert compare.compare("set", "rouge_l", ("a", {}), ("b", scores([1.0])), **OPTIONS) is None


@pytest.mark.parametrize(("confidence", "least"), [(0.5, 2), (0.9, 5), (0.95, 6), (0.99, 8)])
def test_a_few_tasks_show_nothing_however_large(confidence: float, least: int) -> None:
    assert compare.least_tasks(confidence) == least
    assert not compared(scores([90.0] * (least - 1)), scores([0.0] * (least - 1)), confidence=confidence).shown
    assert compared(scores([90.0] * least), scores([0.0] * least), confidence=confidence).shown


# ----------------------------------------------------------------------------------------------- verdict


def difference(b: str, low: float, high: float, name: str = "eval_tasks", **values: Any) -> Comparison:
    given: dict[str, Any] = {
        "set": name,
        "metric": "rouge_l",
        "a": TUNED,
        "b": b,
        "difference": (low + high) / 2,
        "low": low,
        "high": high,
        "confidence": 0.95,
        "n": 90,
        "n_tasks": 60,
        "shown": not low <= 0 <= high,
    }
    return Comparison(**(given | values))


def verdict(*found: Comparison, sets: tuple[str, ...] = ("eval_tasks",)) -> str:
    return compare.verdict(found, sets, [TUNED, *dict.fromkeys(c.b for c in found)])


def test_verdict_better_than_all() -> None:
    assert verdict(difference(BASE, 6, 10), difference(FEW_SHOT, 1, 2), difference(SEEDS_ONLY, 6.9, 9.8)) == (
        "The generated data helped on the 60 tasks of eval_tasks: +8.0 [6.0, 10.0] over the base model; "
        "+1.5 [1.0, 2.0] over the base model with examples in its prompt; "
        "+8.4 [6.9, 9.8] over the model tuned on the seeds alone (ROUGE-L, 95 % intervals)."
    )


def test_verdict_without_the_seeds_baseline_says_tuning() -> None:
    assert verdict(difference(BASE, 6, 10), difference(FEW_SHOT, 1, 2)).startswith(
        "Tuning on the generated data helped "
    )


def test_verdict_no_difference() -> None:
    assert verdict(difference(BASE, -1, 3), difference(FEW_SHOT, -2, 0)) == (
        "No difference shown on the 60 tasks of eval_tasks: +1.0 [-1.0, 3.0] over the base model, which includes 0; "
        "-1.0 [-2.0, 0.0] over the base model with examples in its prompt, which includes 0 (ROUGE-L, 95 % intervals)."
    )


def test_verdict_worse() -> None:
    text = verdict(difference(BASE, -3, -1), difference(FEW_SHOT, -2, 2))
    assert text.startswith(
        "The tuned model is worse on the 60 tasks of eval_tasks: -2.0 [-3.0, -1.0] against the base model;"
    )


def test_verdict_better_than_some() -> None:
    text = verdict(difference(BASE, 1, 3), difference(FEW_SHOT, -2, 2))
    assert text.startswith("The tuned model is better than some baselines, not than all, on the 60 tasks")
    assert "helped" not in text


def test_verdict_mixed() -> None:
    text = verdict(difference(BASE, 1, 3), difference(FEW_SHOT, -5, -2))
    assert text.startswith("The tuned model is better than some baselines and worse than others on the 60 tasks")


def test_verdict_on_too_few_tasks() -> None:
    few = difference(BASE, 80, 90, n_tasks=5, shown=False)
    assert verdict(few) == "No difference shown on the 5 tasks of eval_tasks: 95 % confidence needs at least 6 tasks."
    one = difference(BASE, 80, 90, n_tasks=1, shown=False)
    assert "on the 1 task of eval_tasks" in verdict(one)


def test_verdict_has_a_sentence_for_each_set() -> None:
    text = verdict(difference(BASE, 1, 3), difference(BASE, -1, 3, "mine"), sets=("eval_tasks", "mine"))
    assert text.count("helped on the 60 tasks of eval_tasks") == 1
    assert text.count("No difference shown on the 60 tasks of mine") == 1


def test_verdict_rests_on_nothing_else() -> None:
    """Neither other sets nor other metrics nor other arms can turn it."""
    decoys = [
        difference(BASE, 50, 60, "validation_unseen"),
        difference(BASE, 50, 60, metric="exact_match"),
        difference("other", 50, 60),
        difference(BASE, 50, 60, a="other"),
    ]
    assert verdict(difference(BASE, -1, 3), *decoys) == verdict(difference(BASE, -1, 3))


def test_no_verdict() -> None:
    assert compare.verdict([], ["eval_tasks"], [BASE, FEW_SHOT]) == "No verdict: there is no tuned model."
    assert "but those that the generator wrote" in compare.verdict([], [], [BASE, TUNED])
    assert "no baseline" in compare.verdict([], ["eval_tasks"], [TUNED, "other"])
