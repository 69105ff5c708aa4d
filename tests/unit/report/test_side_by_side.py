"""Answers side by side: the largest differences first, then some that a hash chooses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selfinstruct.report.side_by_side import Answers, side_by_side
from selfinstruct.run.folders import EvaluationDirectory
from selfinstruct.run.scores import BASE, TUNED
from tests import finished_run
from tests.conftest import Once
from tuning.evaluation.answer_cache import AnswerCache
from tuning.evaluation.answers import PREDICTIONS

SETS = ["eval_tasks", "validation_unseen", "validation_seen"]


@pytest.fixture
def folder(tmp_path: Path, make_config: Any, once: Once) -> EvaluationDirectory:
    once(lambda: finished_run.evaluated(tmp_path, make_config()))
    return EvaluationDirectory(tmp_path / "evaluation")


def shown(folder: EvaluationDirectory) -> list[Answers]:
    return side_by_side(folder, folder.scores(), SETS)


def test_gains_then_losses_then_others_each_once(folder: EvaluationDirectory) -> None:
    found = shown(folder)
    reasons = [each.chosen for each in found]
    assert reasons == ["gain"] * 3 + ["loss"] * reasons.count("loss") + ["hash"] * 12
    gains = [each.difference for each in found[:3]]
    assert all(each.set == "eval_tasks" for each in found[:3]), "the generator's questions do not count"
    assert gains == sorted(gains, key=lambda gain: -(gain or 0)) and all(gain and gain > 0 for gain in gains)
    losses = [each.difference for each in found if each.chosen == "loss"]
    assert losses == sorted(losses, key=lambda loss: loss or 0) and all(loss and loss < 0 for loss in losses)
    assert len({(each.set, each.id) for each in found}) == len(found)
    assert all(len(each.answers) == 4 for each in found)


def test_without_a_base_nothing_is_compared(folder: EvaluationDirectory) -> None:
    folder.rows(PREDICTIONS.name, BASE).unlink()
    found = shown(folder)
    assert {each.chosen for each in found} == {"hash"} and len(found) == 12
    assert all(each.difference is None for each in found)
    for arm in folder.arms(PREDICTIONS.name):
        folder.rows(PREDICTIONS.name, arm).unlink()
    assert shown(folder) == []


def test_the_differences_are_those_of_the_answers(folder: EvaluationDirectory) -> None:
    from tuning.evaluation.metrics import rouge_l

    cache = AnswerCache(folder)
    base, tuned = ({(r.set, r.id): r for r in cache.read(PREDICTIONS, arm)} for arm in (BASE, TUNED))
    for each in shown(folder):
        if each.difference is not None:
            one, other = tuned[each.set, each.id], base[each.set, each.id]
            assert each.difference == rouge_l(one.references, one.response) - rouge_l(other.references, other.response)
