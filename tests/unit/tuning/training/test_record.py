"""The record of a training: losses of the trainer's log, overfitting, versions."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from selfinstruct.dataset.mixture import SourceCounts
from selfinstruct.errors import SelfInstructError
from selfinstruct.run.folders import ModelDirectory
from selfinstruct.run.training_record import (
    EvalLoss,
    Overfitting,
    TrainingRecord,
    TrainLoss,
    write_training_record,
)
from tuning.training import record

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
    losses = record.losses(HISTORY)
    assert losses.train == [TrainLoss(1, epoch=0.1, loss=4.0, learning_rate=0.1)]
    assert losses.evaluation["validation_unseen"] == [EvalLoss(0, 6.0), EvalLoss(5, 2.0), EvalLoss(9, 4.0)]
    assert losses.base == {"validation_seen": 5.0, "validation_unseen": 6.0}
    assert losses.final == {"validation_seen": 2.0, "validation_unseen": 4.0}


def test_final_losses_are_those_of_the_model_that_is_kept():
    assert record.losses(HISTORY, final_step=5).final == {"validation_seen": 3.0, "validation_unseen": 2.0}


def test_without_a_first_evaluation_there_is_no_base_loss():
    assert record.losses(HISTORY[2:]).base == {}


def test_overfitting_is_a_loss_on_unseen_tasks_that_rises_again():
    def of(*losses: float):
        return record.overfitting({"validation_unseen": [EvalLoss(5 * k, x) for k, x in enumerate(losses)]})

    assert of(4.0, 3.0, 2.0, 2.5) == Overfitting(lowest_step=10, lowest=2.0, last=2.5)
    assert of(4.0, 3.0, 2.0, 2.03) is None  # within what chance does
    assert of(4.0, 3.0, 2.0) is None
    assert of(1.0, 3.0, 2.0) is None  # the base model's own is no checkpoint
    assert of(1.0) is None
    assert record.overfitting({"validation_seen": [EvalLoss(1, 1.0), EvalLoss(2, 9.0)]}) is None


def test_versions_name_what_trains():
    assert {"python", "torch", "transformers", "trl", "peft"} <= set(record.versions())


FULL_DISK = "[enforce fail at inline_container.cc:672] . unexpected pos 990656 vs 990548"
"""What torch says of a full disk."""

FULL_ELSEWHERE = [
    f"Error while serializing: I/O error: {os.strerror(number)} (os error {number})"
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
]
"""What safetensors says of a full disk, a quota that is used up, and a file above the limit."""


@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        (RuntimeError(FULL_DISK), SelfInstructError, "the disk is full"),
        *((Exception(text), SelfInstructError, "make room") for text in FULL_ELSEWHERE),
        (RuntimeError("odd"), RuntimeError, "odd"),
        (SelfInstructError("ours"), SelfInstructError, "ours"),
    ],
)
def test_a_training_that_fails_in_any_way_is_recorded_as_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, raised: type[Exception], message: str
) -> None:
    monkeypatch.setattr(record, "_progress", lambda *_: {})
    monkeypatch.setattr(record, "announce", lambda _: None)
    trainer: Any = SimpleNamespace(add_callback=lambda _: None, is_world_process_zero=lambda: True)
    output = ModelDirectory(tmp_path)
    output.done.write_text("the hash of earlier weights")
    half = output.checkpoints / "checkpoint-3"
    half.mkdir(parents=True)
    with (
        pytest.raises(raised, match=message),
        record.recorded(output, TrainingRecord(state="running"), trainer, started=0.0),
    ):
        assert output.training_record().state == "running"
        assert not output.done.exists()  # It would vouch for weights that are about to change.
        raise error
    kept = output.training_record()
    assert (kept.state, kept.exit_code) == ("failed", 1)
    assert message in str(kept.error)
    assert half.exists() == isinstance(error, SelfInstructError)


@pytest.mark.parametrize("ends", [None, OSError(errno.ENOSPC, "No space left on device"), SelfInstructError("ours")])
def test_a_disk_without_room_for_the_record_leaves_none_that_says_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: Exception | None
) -> None:
    """The record's own room is all that there is."""

    def write(path: Path, written: TrainingRecord) -> None:
        if path.exists():
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write_training_record(path, written)

    monkeypatch.setattr(record, "_progress", lambda *_: {})
    monkeypatch.setattr(record, "announce", lambda _: None)
    monkeypatch.setattr(record, "write_training_record", write)
    trainer: Any = SimpleNamespace(add_callback=lambda _: None, is_world_process_zero=lambda: True)
    output = ModelDirectory(tmp_path)
    with (
        pytest.raises((OSError, SelfInstructError), match=r"No space|ours"),
        record.recorded(output, TrainingRecord(state="running"), trainer, started=0.0),
    ):
        if ends:
            raise ends
    assert output.training_record().state == "failed"


def test_each_source_has_the_tokens_of_its_rows():
    sources = [
        SourceCounts("a", read=5, taken=2, licence="mit"),
        SourceCounts("b", read=1, taken=1),
        SourceCounts("dataset", read=4, taken=3, is_own=True),
    ]
    mixed = record.mixed_in(sources, [1, 10, 100, 2, 20, 3])
    assert [(source.name, source.tokens, source.licence) for source in mixed] == [
        ("a", 22, "mit"),
        ("b", 3, ""),
        ("dataset", 111, ""),
    ]
