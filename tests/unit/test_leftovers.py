"""Temporary files of killed processes are removed, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from selfinstruct import leftovers


@pytest.mark.whole
def test_what_killed_processes_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    mine = Path(tempfile.mkdtemp(prefix=leftovers.prefix("stage")))
    others = ["selfinstruct-mine", f"selfinstruct-failed-engine-{ended.pid}.log", f"other-stage-{ended.pid}-x"]
    for name in others:
        (tmp_path / name).mkdir()
    (tmp_path / "precious").mkdir()
    (tmp_path / f"selfinstruct-engine-{ended.pid}-abc_1.log").touch()
    (tmp_path / f"selfinstruct-stage-{ended.pid}-x").mkdir()
    (tmp_path / f"selfinstruct-stage-{ended.pid}-x" / "exit_code").touch()
    (tmp_path / f"selfinstruct-stage-{ended.pid}-link").symlink_to(tmp_path / "precious")
    leftovers.remove()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([mine.name, "precious", *others])
    assert f"-{os.getpid()}-" in mine.name
