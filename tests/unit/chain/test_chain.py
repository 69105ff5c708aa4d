"""The stages of the chain, one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.chain import chain
from selfinstruct.config.schema import Config
from selfinstruct.errors import ConfigError
from selfinstruct.run.directory import RunDirectory


def test_an_evaluation_puts_its_scores_into_the_models_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.unit.tuning.training.test_model_card import NOTES, SCORES

    def evaluated(*_: object, **__: object) -> None:
        (tmp_path / "evaluation").mkdir()
        (tmp_path / "evaluation/scores.json").write_text(json.dumps(SCORES))

    monkeypatch.setattr(chain, "run_stage", evaluated)
    (tmp_path / "model").mkdir()
    (tmp_path / "model/training.json").write_text(json.dumps(NOTES))
    chain.evaluate(RunDirectory(tmp_path))
    assert SCORES["verdict"] in (tmp_path / "model/README.md").read_text()


def test_the_seeds_baseline_chooses_its_checkpoint_by_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests import tiny_model

    def tuned(command: list[str], _: str, **__: object) -> None:
        output = Path(next(word for word in command if word.startswith("--output_dir=")).partition("=")[2])
        output.mkdir()
        (output / "training.json").write_text(json.dumps({"rows": {"trained_on": 5}, "steps": 7}))
        calls.append(command)

    calls: list[list[str]] = []
    monkeypatch.setattr(chain, "run_stage", tuned)
    tiny_model.dataset(tmp_path / "dataset")
    chain.tune(Config.model_validate({"output_dir": str(tmp_path), "evaluate": {"seeds_baseline": True}}))
    for split in ("validation_seen", "validation_unseen"):
        same = [(tmp_path / folder / f"{split}.jsonl").read_text() for folder in ("dataset", "dataset-seeds")]
        assert same[0] == same[1] != ""
    assert len(calls) == 2
    assert "--max_steps=7" in calls[1]  # it has more rows, and may take no more steps
    assert all(command[command.index("--eval_tasks") + 1] == "eval_tasks" for command in calls)


def test_a_tuning_is_done_again_only_when_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests import tiny_model

    calls: list[list[str]] = []
    monkeypatch.setattr(chain, "run_stage", lambda command, _, **__: calls.append(command))
    tiny_model.dataset(tmp_path / "dataset")
    (tmp_path / "model").mkdir()
    (tmp_path / "model/model.safetensors").touch()
    config = Config(output_dir=str(tmp_path))
    for overwrite in (False, False, True, False):
        chain.tune(config, overwrite=overwrite)
    assert ["--overwrite" in command for command in calls] == [False, True]


@pytest.mark.parametrize("began", [False, True])
def test_only_a_tuning_that_began_makes_the_model_there_an_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, began: bool
) -> None:
    """A mistyped option must not cost an evaluation its tuned model."""
    from tests import tiny_model

    def fails(*_: Any, **__: Any) -> None:
        if began:
            run.model.done.unlink()
        raise ConfigError("mistyped")

    run = RunDirectory(tmp_path)
    tiny_model.dataset(tmp_path / "dataset")
    tiny_model.save(tmp_path / "model")
    run.model.done.write_text("key")
    monkeypatch.setattr(chain, "run_stage", fails)
    with pytest.raises(ConfigError, match="mistyped"):
        chain.tune(Config(output_dir=str(tmp_path)))
    assert run.model.failure == ("mistyped" if began else None)


@pytest.mark.parametrize("inside", ["model", "model/adapter", "linked"])
def test_the_tuned_model_cannot_be_the_model_to_tune(tmp_path: Path, inside: str) -> None:
    from tests import tiny_model

    tiny_model.dataset(tmp_path / "dataset")
    tiny_model.save(tmp_path / "model")
    tiny_model.save(tmp_path / "model/adapter")
    (tmp_path / "linked").symlink_to("model")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    config = Config.model_validate({"output_dir": str(tmp_path), "tune": {"model": str(tmp_path / inside)}})
    with pytest.raises(ConfigError, match="where the tuned model would replace it"):
        chain.tune(config)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
