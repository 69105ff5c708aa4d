"""The folders of the stages: paths, and one error for each file that is missing or damaged."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.errors import InputError
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.folders import DatasetDirectory, EvaluationDirectory, ModelDirectory
from selfinstruct.run.training_record import TrainingRecord, write_training_record

FIXTURE = Path(__file__).parents[2] / "fixtures" / "run_before_layout" / "rounds" / "round-01"


def test_every_path_is_where_older_versions_put_it() -> None:
    dataset = DatasetDirectory(Path("a/dataset"))
    files = (dataset.alpaca, dataset.self_instruct, dataset.card, dataset.counts_path, dataset.split("train"))
    names = ("alpaca.json", "self_instruct", "README.md", "export.json", "train.jsonl")
    assert files == tuple(Path("a/dataset") / name for name in names)
    model = ModelDirectory(Path("a/model"))
    files = (model.checkpoints, model.record_path, model.done)
    assert files == tuple(Path("a/model") / name for name in ("checkpoints", "training.json", ".done"))
    evaluation = EvaluationDirectory(Path("a/evaluation"))
    files = (evaluation.scores_path, evaluation.rows("predictions", "tuned"), evaluation.kept("predictions", "tuned"))
    names = ("scores.json", "predictions-tuned.jsonl", "kept/predictions-tuned.jsonl")
    assert files == tuple(Path("a/evaluation") / name for name in names)


def test_readers_return_what_older_versions_wrote() -> None:
    assert DatasetDirectory(FIXTURE / "dataset").export_counts().rows["train"] == 11
    assert ModelDirectory(FIXTURE / "model").holds_model
    evaluation = EvaluationDirectory(FIXTURE / "evaluation")
    assert evaluation.arms("predictions") == ["tuned"] and list(evaluation.scores().arms) == ["tuned"]


def test_a_folder_that_holds_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"export\.json is missing; `selfinstruct export` writes it"):
        DatasetDirectory(tmp_path / "dataset").export_counts()
    model = ModelDirectory(tmp_path / "model")
    with pytest.raises(InputError, match=r"training\.json is missing; `selfinstruct tune` writes it"):
        model.training_record()
    assert not model.holds_model and not model.is_adapter
    evaluation = EvaluationDirectory(tmp_path / "evaluation")
    with pytest.raises(InputError, match=r"scores\.json: cannot be read: .*run `selfinstruct evaluate` again"):
        evaluation.scores()
    assert evaluation.arms("predictions") == []
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"\xff"])
def test_a_damaged_file_is_one_error(tmp_path: Path, raw: bytes) -> None:
    dataset, model, evaluation = (kind(tmp_path) for kind in (DatasetDirectory, ModelDirectory, EvaluationDirectory))
    for path in (dataset.counts_path, model.record_path, evaluation.scores_path):
        path.write_bytes(raw)
    with pytest.raises(InputError, match=r"export\.json is damaged"):
        dataset.export_counts()
    with pytest.raises(InputError, match=r"training\.json is damaged"):
        model.training_record()
    with pytest.raises(InputError, match=r"scores\.json is damaged"):
        evaluation.scores()


def test_a_training_record_is_read(tmp_path: Path) -> None:
    write_training_record(tmp_path / "training.json", TrainingRecord(steps=7))
    assert ModelDirectory(tmp_path).training_record().steps == 7


def test_an_adapter_is_told_from_a_whole_model(tmp_path: Path) -> None:
    model = ModelDirectory(tmp_path)
    (tmp_path / "adapter_config.json").touch()
    assert model.is_adapter and model.holds_model
    (tmp_path / "adapter_config.json").rename(tmp_path / "config.json")
    assert model.holds_model and not model.is_adapter


def test_arms_are_those_with_rows_of_the_part(tmp_path: Path) -> None:
    evaluation = EvaluationDirectory(tmp_path)
    for arm in ("tuned", "base-few-shot", "base"):
        evaluation.rows("predictions", arm).touch()
    evaluation.rows("loss", "base").touch()
    evaluation.kept("predictions", "other").parent.mkdir()
    evaluation.kept("predictions", "other").touch()
    assert evaluation.arms("predictions") == ["base", "base-few-shot", "tuned"]
    assert evaluation.arms("loss") == ["base"]
    assert evaluation.arms("judge") == []


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", '"x"', "{", ""])
def test_a_damaged_file_of_a_stage_is_one_error(tmp_path: Path, text: str) -> None:
    run = RunDirectory(tmp_path)
    for path, read in (
        (run.dataset.counts_path, run.dataset.export_counts),
        (run.model.record_path, run.model.training_record),
        (run.evaluation.scores_path, run.evaluation.scores),
    ):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        with pytest.raises(InputError, match=path.name):
            read()


@pytest.mark.parametrize(
    ("state", "weights", "said"),
    [
        ("running", True, "its training has not ended, or was killed"),
        ("running", False, "its training has not ended, or was killed"),
        ("failed", False, r"its training failed without weights \(the loss is nan\)"),
        ("stopped", False, "its training stopped without weights"),
        ("failed", True, None),
        ("stopped", True, None),
        ("finished", True, None),
    ],
)
def test_a_model_without_its_weights_is_refused(tmp_path: Path, state: Any, weights: bool, said: str | None) -> None:
    write_training_record(tmp_path / "training.json", TrainingRecord(state=state, error="the loss\nis nan"))
    if weights:
        (tmp_path / "model.safetensors").touch()
    with contextlib.nullcontext() if said is None else pytest.raises(InputError, match=said):
        ModelDirectory(tmp_path).require_trained()


def test_a_folder_that_was_not_trained_here_passes(tmp_path: Path) -> None:
    ModelDirectory(tmp_path / "none").require_trained()
    (tmp_path / "training.json").write_text('["of another program"]')
    ModelDirectory(tmp_path).require_trained()
