"""How rounds are compared: on the same tasks; the best by the mean, a gain by its interval."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfinstruct.chain.round_selection import held_out_scores, select_best, select_best_round
from selfinstruct.formats import jsonl
from selfinstruct.run.folders import EvaluationDirectory
from tests.conftest import examples
from tuning.evaluation.bootstrap import Resampling, Score

RESAMPLING = Resampling(num_resamples=200, confidence=0.95, seed=42)


def scores(values: list[float]) -> dict[str, Score]:
    return {f"q{k}": Score(f"t{k}", value) for k, value in enumerate(values)}


def folder(path: Path, rows: list[dict[str, Any]]) -> EvaluationDirectory:
    whole = [{"set": "validation_unseen", "input": "", "is_classification": False} | row for row in rows]
    evaluation = EvaluationDirectory(path)
    jsonl.write(evaluation.rows("predictions", "tuned"), whole)
    return evaluation


def row(k: int, response: str, reference: str = "right", name: str = "") -> dict[str, Any]:
    return {
        "id": f"{name}q{k}",
        "task": f"{name}t{k}",
        "instruction": f"Do {k}.",
        "references": [reference],
        "response": response,
    }


def test_all_rounds_are_measured_by_the_first_one_s_tasks_and_references(tmp_path: Path) -> None:
    first = folder(tmp_path / "1", [row(0, "right"), row(1, "wrong")])
    later = [row(2, "wrong"), row(1, "right", "other", "round-01/"), row(0, "right", "right", "round-01/")]
    second = folder(tmp_path / "2", [*later, row(0, "wrong") | {"set": "eval_tasks"}])
    assert held_out_scores([first, second]) == [
        {"q0": Score("t0", 100.0), "q1": Score("t1", 0.0)},
        {"q1": Score("t1", 100.0), "q0": Score("t0", 100.0)},
    ]
    selection = select_best_round([first, second], RESAMPLING)
    assert [mean and mean.rouge_l for mean in selection.held_out] == [50.0, 100.0]
    assert selection.best == 1


def test_a_gain_must_be_significant_to_count_but_not_to_be_the_best() -> None:
    some = [0.0, 100.0] * 10
    slightly = [*some[:-2], 1.0, 100.0]
    selection = select_best([scores(some), scores(slightly)], RESAMPLING)
    assert (selection.best, selection.without_gain) == (1, 1)
    selection = select_best([scores(some), scores([100.0] * 20), scores(some)], RESAMPLING)
    assert (selection.best, selection.without_gain, selection.compared_with) == (1, 1, [0, 0, 1])
    few = select_best([scores([0.0] * 3), scores([100.0] * 3)], RESAMPLING)
    assert (few.best, few.without_gain) == (1, 1), "three tasks cannot show a difference"


def test_without_questions_the_last_round_is_the_best() -> None:
    selection = select_best([{}, {}, {}], RESAMPLING)
    assert (selection.best, selection.without_gain, selection.held_out) == (2, 0, [None, None, None])
    assert select_best([], RESAMPLING).best == 0


@settings(max_examples=examples(25))
@given(st.lists(st.lists(st.sampled_from([0.0, 50.0, 100.0]), min_size=8, max_size=8), min_size=1, max_size=5))
def test_the_best_has_the_highest_mean_and_is_the_earliest_of_those(values: list[list[float]]) -> None:
    selection = select_best([scores(found) for found in values], RESAMPLING)
    means = [sum(found) / len(found) for found in values]
    assert selection.best == means.index(max(means))
    assert 0 <= selection.without_gain < len(values)
    for k, gain in enumerate(selection.gains):
        assert (gain is None) == (k == 0)
        if gain is not None:
            assert gain.difference == pytest.approx(means[k] - max(means[:k]))
            assert gain.low <= gain.difference <= gain.high or gain.low == gain.high
    for k in range(1, len(values)):
        shorter = select_best([scores(found) for found in values[:k]], RESAMPLING)
        assert shorter.gains == selection.gains[:k], "what was decided stays decided"
