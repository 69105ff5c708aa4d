"""`python -m tuning.sft` by hand: it writes a run only while nobody else does."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from selfinstruct.environment import LOCKS
from selfinstruct.errors import RunLockedError
from selfinstruct.run.directory import RunDirectory
from tests.conftest import held_by_another
from tuning import sft
from tuning.training import arguments


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """A run that another process writes."""
    for name in (LOCKS, "RANK"):
        monkeypatch.delenv(name, raising=False)
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    run.journal.touch()
    return run


def test_it_takes_the_lock_of_the_run(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    training = {"output_dir": str(run.model.path)}
    monkeypatch.setattr(arguments, "parse", lambda _: SimpleNamespace(training=training))
    with held_by_another(run.path), pytest.raises(RunLockedError, match="is being written by"):
        sft.tune([])
    with sft.locking_run(run.model.path):
        assert run.owner.exists()


def test_a_stage_of_a_chain_and_the_other_processes_of_a_training_have_it(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held_by_another(run.path):
        for name, value in ((LOCKS, "7"), ("RANK", "1")):
            with monkeypatch.context() as patched:
                patched.setenv(name, value)
                with sft.locking_run(run.model.path):
                    assert not run.owner.exists()


def test_a_folder_of_no_run_is_not_locked(tmp_path: Path) -> None:
    with sft.locking_run(tmp_path / "elsewhere" / "model"):
        assert not list(tmp_path.iterdir())
