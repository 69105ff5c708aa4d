from __future__ import annotations

import json
from pathlib import Path

import pytest

from selfinstruct.config.later_stages import Evaluate
from selfinstruct.errors import ConfigError
from selfinstruct.run.folders import ModelDirectory
from selfinstruct.run.training_record import MixedIn, TrainingRecord, write_training_record
from tuning.evaluation.mixture_questions import MIXTURE_SEEN, MIXTURE_UNSEEN, mixture_questions


@pytest.fixture
def model(tmp_path: Path) -> ModelDirectory:
    """A model that was tuned with task1 held out of a folder of Super-NaturalInstructions."""
    for task in range(3):
        instances = [{"id": f"{task}-{k}", "input": f"in {task} {k}", "output": [f"{k}", "x"]} for k in range(100)]
        value = {"Definition": [f"Do the thing {task}."], "Categories": [f"c{task}"], "Instances": instances}
        (tmp_path / "mix").mkdir(exist_ok=True)
        (tmp_path / "mix" / f"task{task}.json").write_text(json.dumps(value))
    record = TrainingRecord(
        arguments={"mix_hold_out": "task", "seed": 3},
        mixture=[MixedIn(str(tmp_path / "mix"), 300, 190, 0, held_out=["task1"])],
    )
    write_training_record(tmp_path / "training.json", record)
    return ModelDirectory(tmp_path)


def test_both_sides_are_asked(model: ModelDirectory) -> None:
    questions = mixture_questions(model, Evaluate(held_out_by="task"))
    seen = [q for q in questions if q.set == MIXTURE_SEEN]
    unseen = [q for q in questions if q.set == MIXTURE_UNSEEN]
    assert {q.task for q in unseen} == {"task1"} and len(unseen) == 20
    assert {q.task for q in seen} == {"task0", "task2"}
    assert unseen[0].references == ("0", "x") and unseen[0].messages[0]["content"] == "Do the thing 1.\n\nin 1 0"
    assert len({q.id for q in questions}) == len(questions)
    assert mixture_questions(model, Evaluate()) == []


@pytest.mark.parametrize("by", ["category", "task"])
def test_a_model_that_was_tuned_otherwise_is_refused(model: ModelDirectory, by: str, tmp_path: Path) -> None:
    other = model if by == "category" else ModelDirectory(tmp_path / "nothing")
    with pytest.raises(ConfigError, match=f"tuned so; tune with .*--mix-hold-out {by}"):
        mixture_questions(other, Evaluate(held_out_by=by))
