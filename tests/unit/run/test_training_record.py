"""The record of a training: written and read back, also as earlier versions wrote it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from selfinstruct.errors import InputError
from selfinstruct.run.training_record import (
    EvalLoss,
    Finding,
    Identity,
    Losses,
    Rows,
    Tokens,
    TrainingRecord,
    read_training_record,
    write_training_record,
)
from tests import finished_run


def test_a_record_comes_back_as_it_was_written(tmp_path):
    record = TrainingRecord(
        state="stopped",
        exit_code=143,
        identity=Identity(arguments={"seed": 1}, dataset_sha256="ab", model_files=[("model.safetensors", 5, 7)]),
        rows=Rows(train=9, trained_on=8, blocks=3),
        tokens=Tokens(train=90, trained=30),
        findings=[Finding(name="leak", message="2 rows \ud800 leak", count=2, examples=("a", "b"))],
        loss=Losses(evaluation={"validation_unseen": [EvalLoss(step=0, loss=2.5)]}, base={"validation_unseen": 2.5}),
    )
    write_training_record(tmp_path / "training.json", record)
    assert read_training_record(tmp_path / "training.json") == record


def test_the_keys_on_disk_are_those_of_earlier_versions(tmp_path):
    write_training_record(tmp_path / "training.json", TrainingRecord(tokens=Tokens(train=90, trained=30)))
    stored = json.loads((tmp_path / "training.json").read_text())
    assert stored["tokens"] == {"train": 90, "learnt": 30}
    assert stored["rows"] == {"train": 0, "validation_seen": 0, "validation_unseen": 0, "trained_on": 0}
    finished_run.tuned(tmp_path)
    assert json.loads((tmp_path / "model/training.json").read_text()).keys() < stored.keys()


def test_a_record_of_an_earlier_version_is_read(tmp_path):
    finished_run.tuned(tmp_path)
    record = read_training_record(tmp_path / "model/training.json")
    assert record is not None
    assert (record.tokens.trained, record.rows.trained_on, record.memory.peak) == (6_000, 190, None)
    (tmp_path / "training.json").write_text('{"loss": {"final": {"validation_unseen": "nan"}}, "memory": {}}')
    earlier = read_training_record(tmp_path / "training.json")
    assert earlier is not None and str(earlier.loss.final["validation_unseen"]) == "nan"


def test_what_json_lacks_becomes_null_or_text(tmp_path):
    record = TrainingRecord(
        arguments={"max_grad_norm": float("inf"), "folder": Path("here")}, loss=Losses(final={"a": float("nan")})
    )
    write_training_record(tmp_path / "training.json", record)
    stored = json.loads((tmp_path / "training.json").read_text())
    assert stored["arguments"] == {"max_grad_norm": None, "folder": "here"}
    assert stored["loss"]["final"] == {"a": None}


def test_no_file_is_no_record(tmp_path):
    assert read_training_record(tmp_path / "training.json") is None


@pytest.mark.parametrize("text", ["", "[]", "{", '{"steps": "many"}', '{"state": "odd"}'])
def test_a_broken_file_is_named(tmp_path, text):
    (tmp_path / "training.json").write_text(text)
    with pytest.raises(InputError, match=r"training\.json is damaged: .*; `selfinstruct tune` writes it again"):
        read_training_record(tmp_path / "training.json")
