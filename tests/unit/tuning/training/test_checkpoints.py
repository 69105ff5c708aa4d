"""What lies in an output directory, the losses of a trainer's log, and what stops a training."""

from __future__ import annotations

import json
import signal
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from selfinstruct.errors import InputError
from tuning.training import checkpoints, record
from tuning.training.callbacks import StopOnSignal, StopWhenDiverged

VERSIONS = {"python": "3.11", "torch": "2", "trl": "1"}


def checkpoint(folder, step, text=None):
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "trainer_state.json").write_text(json.dumps({"global_step": step}) if text is None else text)
    return path


def test_last_complete_checkpoint_is_the_highest_whole_one(tmp_path):
    checkpoint(tmp_path, 9)
    whole = checkpoint(tmp_path, 10)
    torn = checkpoint(tmp_path, 20, '{"global_step": 2')
    checkpoint(tmp_path, 25, '{"global_step": 24}')
    missing = tmp_path / "checkpoint-30"
    missing.mkdir()
    assert checkpoints.last_complete(tmp_path) == whole
    assert not torn.exists() and not missing.exists()
    assert (tmp_path / "checkpoint-9").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "rng_state.pth", "training_args.bin"])
@pytest.mark.parametrize("harm", ["empty", "half", "zeros", "one byte short"])
def test_a_checkpoint_whose_tensors_a_power_loss_cut_short_is_passed_over(tmp_path, name, harm):
    """The trainer's last file may have reached the disk before its first."""
    earlier, later = checkpoint(tmp_path, 10), checkpoint(tmp_path, 20)
    tensors = {"a": torch.arange(5000.0), "b": torch.zeros(3, 7, dtype=torch.bfloat16)}
    for folder in (earlier, later):
        for file in ("model.safetensors", "optimizer.pt", "rng_state.pth", "training_args.bin"):
            if file.endswith("safetensors"):
                save_file(tensors, folder / file, metadata={"format": "pt"})
            else:
                torch.save(tensors, folder / file)
    assert checkpoints.last_complete(tmp_path) == later
    data = (later / name).read_bytes()
    size = len(data)
    left = {"empty": b"", "half": data[: size // 2], "zeros": bytes(size), "one byte short": data[:-1]}[harm]
    (later / name).write_bytes(left)
    assert checkpoints.last_complete(tmp_path) == earlier
    assert not later.exists()


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
    assert json.loads(json.dumps(same)) == same


def test_files_of_a_model(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"12345")
    (tmp_path / "README.md").write_text("no matter")
    ((name, size, _),) = checkpoints.files_of(tmp_path)
    assert (name, size) == ("model.safetensors", 5)
    assert checkpoints.files_of(tmp_path / "organisation/name-on-the-hub") == []


@pytest.mark.parametrize("text", [None, "", "[]", "{"])
def test_a_missing_or_broken_record_is_an_empty_one(tmp_path, text):
    if text is not None:
        (tmp_path / "training.json").write_text(text)
    assert checkpoints.record(tmp_path) == {}


HISTORY = [
    {"step": 0, "epoch": 0, "eval_validation_seen_loss": 5.0, "eval_validation_seen_runtime": 1},
    {"step": 0, "epoch": 0, "eval_validation_unseen_loss": 6.0},
    {"step": 1, "epoch": 0.1, "loss": 4.0, "grad_norm": 1.0, "learning_rate": 0.1, "num_tokens": 7},
    {"step": 5, "epoch": 0.5, "eval_validation_seen_loss": 3.0},
    {"step": 5, "epoch": 0.5, "eval_validation_unseen_loss": 2.0},
    {"step": 9, "epoch": 1.0, "eval_validation_seen_loss": 2.0},
    {"step": 9, "epoch": 1.0, "eval_validation_unseen_loss": 4.0},
    {"step": 9, "epoch": 1.0, "train_runtime": 9, "train_loss": 3.0},
]


def test_losses_of_a_log():
    found = record.losses(HISTORY)
    assert found["train"] == [{"step": 1, "epoch": 0.1, "loss": 4.0, "learning_rate": 0.1}]
    assert found["evaluation"]["validation_unseen"] == [
        {"step": 0, "loss": 6.0},
        {"step": 5, "loss": 2.0},
        {"step": 9, "loss": 4.0},
    ]
    assert found["base"] == {"validation_seen": 5.0, "validation_unseen": 6.0}
    assert found["final"] == {"validation_seen": 2.0, "validation_unseen": 4.0}


def test_final_losses_are_those_of_the_model_that_is_kept():
    assert record.losses(HISTORY, final_step=5)["final"] == {"validation_seen": 3.0, "validation_unseen": 2.0}


def test_without_a_first_evaluation_there_is_no_base_loss():
    assert record.losses(HISTORY[2:])["base"] == {}


def test_overfitting_is_a_loss_on_unseen_tasks_that_rises_again():
    def of(*losses: float):
        return record.overfitting({"validation_unseen": [{"step": 5 * k, "loss": x} for k, x in enumerate(losses)]})

    assert of(4.0, 3.0, 2.0, 2.5) == {"lowest_step": 10, "lowest": 2.0, "last": 2.5}
    assert of(4.0, 3.0, 2.0, 2.03) is None  # within what chance does
    assert of(4.0, 3.0, 2.0) is None
    assert of(1.0, 3.0, 2.0) is None  # the base model's own is no checkpoint
    assert of(1.0) is None
    assert record.overfitting({"validation_seen": [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 9.0}]}) is None


def test_versions_name_what_trains():
    assert {"python", "torch", "transformers", "trl", "peft"} <= set(record.versions())


# ------------------------------------------------------------------------------------------------- callbacks

ARGS = SimpleNamespace(output_dir="out/checkpoints", learning_rate=0.1)


@pytest.mark.parametrize("logs", [{"loss": float("nan")}, {"loss": float("inf")}, {"eval_a_loss": float("nan")}])
def test_a_loss_that_is_no_number_stops(logs):
    with pytest.raises(InputError, match=r"step 7.*--learning_rate \(it was 0\.1\)") as caught:
        StopWhenDiverged().on_log(ARGS, SimpleNamespace(global_step=7), None, logs=logs)
    assert caught.value.exit_code == 4


def test_other_figures_do_not_stop():
    StopWhenDiverged().on_log(ARGS, SimpleNamespace(global_step=7), None, logs={"loss": 1.0, "grad_norm": float("inf")})


def test_a_spoilt_weight_stops_before_the_checkpoint():
    model = torch.nn.Linear(2, 2)
    control = SimpleNamespace(should_save=True, should_evaluate=False, should_log=False)
    watch, state = StopWhenDiverged(), SimpleNamespace(global_step=3)
    watch.on_step_end(ARGS, state, control, model=model)
    assert control.should_log
    with torch.no_grad():
        model.bias[0] = float("inf")
    with pytest.raises(InputError, match="weight bias"):
        watch.on_step_end(ARGS, state, control, model=model)


@pytest.fixture
def interruptible():
    """A shell that starts the tests in the background has SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_signal_asks_for_a_checkpoint_and_the_handlers_come_back(interruptible):
    before = signal.getsignal(signal.SIGTERM)
    control = SimpleNamespace(should_save=False, should_training_stop=False)
    with StopOnSignal(num_processes=1) as stopper:
        stopper.on_step_end(None, None, control)
        assert not control.should_save
        signal.raise_signal(signal.SIGTERM)
        stopper.on_step_end(None, None, control)
        assert control.should_save and control.should_training_stop
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert stopper.received == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def test_with_several_processes_signals_are_left_alone():
    before = signal.getsignal(signal.SIGTERM)
    with StopOnSignal(num_processes=2):
        assert signal.getsignal(signal.SIGTERM) is before
