"""What an output directory holds, and where a training starts."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from selfinstruct.errors import ConfigError
from selfinstruct.run.folders import ModelDirectory
from selfinstruct.run.training_record import Identity, TrainingRecord, write_training_record
from tests.heavy import Heavy
from tuning.training import checkpoints
from tuning.training.checkpoints import Start

safetensors, torch = Heavy("safetensors.torch"), Heavy("torch")

VERSIONS = {"python": "3.11", "torch": "2", "trl": "1"}


def checkpoint(folder, step, text=None):
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "trainer_state.json").write_text(json.dumps({"global_step": step}) if text is None else text)
    return path


def test_last_complete_checkpoint_is_the_highest_whole_one(tmp_path):
    checkpoint(tmp_path, 9)
    whole = checkpoint(tmp_path, 10)
    checkpoint(tmp_path, 20, '{"global_step": 2')
    checkpoint(tmp_path, 25, '{"global_step": 24}')
    (tmp_path / "checkpoint-30").mkdir()
    assert checkpoints.last_complete(tmp_path) == whole


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "rng_state.pth", "training_args.bin"])
@pytest.mark.parametrize("harm", ["empty", "half", "zeros", "one byte short"])
def test_a_checkpoint_whose_tensors_a_power_loss_cut_short_is_passed_over(tmp_path, name, harm):
    """The trainer's last file may have reached the disk before its first."""
    earlier, later = checkpoint(tmp_path, 10), checkpoint(tmp_path, 20)
    tensors = {"a": torch.arange(5000.0), "b": torch.zeros(3, 7, dtype=torch.bfloat16)}
    for folder in (earlier, later):
        for file in ("model.safetensors", "optimizer.pt", "rng_state.pth", "training_args.bin"):
            if file.endswith("safetensors"):
                safetensors.save_file(tensors, folder / file, metadata={"format": "pt"})
            else:
                torch.save(tensors, folder / file)
    assert checkpoints.last_complete(tmp_path) == later
    data = (later / name).read_bytes()
    size = len(data)
    left = {"empty": b"", "half": data[: size // 2], "zeros": bytes(size), "one byte short": data[:-1]}[harm]
    (later / name).write_bytes(left)
    assert checkpoints.last_complete(tmp_path) == earlier


def test_no_checkpoint_at_all(tmp_path):
    assert checkpoints.last_complete(tmp_path) is None
    assert checkpoints.last_complete(tmp_path / "nothing") is None


def test_identity_follows_what_changes_the_result():
    def of(dataset="d", model=(("model.safetensors", 5, 7),), versions=VERSIONS, **given):
        return checkpoints.identity(given, dataset=dataset, model=list(model), versions=versions)

    same = of(learning_rate=1e-3)
    assert of(learning_rate=1e-3, output_dir="elsewhere", report_to=["wandb"], save_steps=5, overwrite=True) == same
    assert of(learning_rate=1e-4) != same
    assert of(learning_rate=1e-3, dataset="e") != same
    assert of(learning_rate=1e-3, model=(("model.safetensors", 5, 8),)) != same
    assert of(learning_rate=1e-3, versions={**VERSIONS, "trl": "2"}) != same
    assert msgspec.convert(json.loads(json.dumps(msgspec.to_builtins(same))), Identity) == same


def test_files_of_a_model(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"12345")
    (tmp_path / "README.md").write_text("no matter")
    ((name, size, _),) = checkpoints.files_of(tmp_path)
    assert (name, size) == ("model.safetensors", 5)
    assert checkpoints.files_of(tmp_path / "organisation/name-on-the-hub") == []


@pytest.mark.parametrize("text", [None, "", "[]", "{"])
def test_a_missing_or_broken_record_is_none(tmp_path, text):
    if text is not None:
        (tmp_path / "training.json").write_text(text)
    assert checkpoints.stored_record(ModelDirectory(tmp_path)) is None


# ---------------------------------------------------------------------------------------- where a training starts

WANTED = Identity({"seed": 1}, "ab", [("model.safetensors", 5, 7)], {"trl": "1"})
OTHER = Identity({"seed": 2}, "ab", [("model.safetensors", 5, 7)], {"trl": "1"})


def left_by(folder: Path, identity: Identity, state: str = "running") -> None:
    write_training_record(folder / "training.json", TrainingRecord(state=state, identity=identity))


def test_an_empty_directory_is_started_from_scratch(tmp_path):
    assert checkpoints.find_start(ModelDirectory(tmp_path), WANTED) == Start()


def test_a_finished_training_is_not_started_again_unless_overwritten(tmp_path):
    left_by(tmp_path, WANTED, "finished")
    assert checkpoints.find_start(ModelDirectory(tmp_path), WANTED) == Start(finished=True)
    assert checkpoints.find_start(ModelDirectory(tmp_path), WANTED, overwrite=True) == Start()
    assert checkpoints.find_start(ModelDirectory(tmp_path), OTHER) == Start()


def test_the_last_complete_checkpoint_of_the_same_training_is_continued(tmp_path):
    left_by(tmp_path, WANTED)
    earlier, whole = (checkpoint(tmp_path / "checkpoints", step) for step in (9, 10))
    torn = checkpoint(tmp_path / "checkpoints", 20, '{"global_step": 2')
    start = checkpoints.find_start(ModelDirectory(tmp_path), WANTED)
    assert (start, start.step) == (Start(checkpoint=whole), 10)
    checkpoints.remove_unusable(ModelDirectory(tmp_path), start)
    assert earlier.exists() and whole.exists() and not torn.exists()


def test_checkpoints_of_other_settings_are_removed(tmp_path, capfd):
    left_by(tmp_path, OTHER)
    checkpoint(tmp_path / "checkpoints", 10)
    assert checkpoints.find_start(ModelDirectory(tmp_path), WANTED, overwrite=True) == Start()
    start = checkpoints.find_start(ModelDirectory(tmp_path), WANTED)
    assert start == Start(of_other_settings=True)
    checkpoints.remove_unusable(ModelDirectory(tmp_path), start)
    assert not (tmp_path / "checkpoints").exists()
    assert "of other settings or another dataset; starting from scratch" in " ".join(capfd.readouterr().err.split())


def test_a_named_checkpoint_is_continued_whatever_it_is_of(tmp_path):
    path = checkpoint(tmp_path, 10)
    assert checkpoints.find_start(ModelDirectory(tmp_path / "out"), WANTED, resume_from=str(path)) == Start(
        checkpoint=path
    )
    with pytest.raises(ConfigError, match=r"--resume_from_checkpoint .*no complete checkpoint"):
        checkpoints.find_start(ModelDirectory(tmp_path / "out"), WANTED, resume_from=str(tmp_path))


def test_checkpoints_of_a_finished_training_stay_when_the_user_asked_for_them(tmp_path):
    path = checkpoint(tmp_path / "checkpoints", 10)
    checkpoints.remove_unneeded(ModelDirectory(tmp_path), ["save_steps", "seed"])
    assert path.exists()
    checkpoints.remove_unneeded(ModelDirectory(tmp_path), ["seed"])
    assert not (tmp_path / "checkpoints").exists()
