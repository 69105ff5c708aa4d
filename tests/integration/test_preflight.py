"""The tuner's arguments before a run: TRL itself reads them, in a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from selfinstruct.checks.preflight import check
from selfinstruct.hardware import Hardware
from selfinstruct.packaged import model_path
from selfinstruct.text import GIB

pytestmark = pytest.mark.integration

HOST = Hardware((), 64 * GIB, 64 * GIB)


def test_the_tuners_arguments_are_read_by_trl(
    make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def problems(**tune: Any) -> list[str]:
        return [
            str(p) for p in check(make_config(model=str(model_path()), tune=tune), tuned=True, hardware=HOST).problems
        ]

    assert problems(lerning_rate=1e-4) == [
        "tune: --lerning_rate: TRL has no such argument; did you mean --learning_rate?"
    ]
    assert "tune.output_dir is decided by the run's model folder" in problems(output_dir="x")[0]
    (tmp_path / "trl.py").write_text("raise ImportError('libwrong.so: no such file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert problems() == [
        "tune: the tuner cannot be started here: ImportError: libwrong.so: no such file; repair its installation"
    ]
