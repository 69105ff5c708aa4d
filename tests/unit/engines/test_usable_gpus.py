"""Which GPUs an engine goes on with when one of them is dead for good."""

from __future__ import annotations

import pytest

from selfinstruct.engines import usable_gpus
from selfinstruct.engines.usable_gpus import hide_unusable, try_each
from selfinstruct.hardware import Gpu


@pytest.mark.parametrize(
    ("listed", "visible", "dead", "expected"),
    [
        ("0123", None, "2", "0,1,3"),
        ("0123", "1,2,3", "2", "1,3"),
        ("013", None, "", "0,1,3"),  # the driver lists the dead one no more, and CUDA still counts from 0
        ("0123", None, "", None),
        ("0123", "2,3", "", None),
        ("0123", None, "0123", None),
    ],
)
def test_what_is_hidden(listed: str, visible: str | None, dead: str, expected: str | None) -> None:
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    gpus = [Gpu("GPU", 80 << 30, 80 << 30, index=name) for name in listed]
    left = hide_unusable(gpus, 0.9, usable=lambda names, _: [n for n in names if n not in dead], environ=environ)
    assert ",".join(left) == (expected or "")
    assert environ.get("CUDA_VISIBLE_DEVICES") == (expected or visible)


def test_a_gpu_that_fails_and_one_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    played = (
        "import os, sys, time\n"
        "name = os.environ['CUDA_VISIBLE_DEVICES']\n"
        "if name == '2': time.sleep(600)\n"
        "sys.exit(name == '1')\n"
    )
    monkeypatch.setattr(usable_gpus, "_TRY", played)
    for seconds in (1.0, 8.0, 64.0):  # On a busy machine, the first may be over before the programs run.
        monkeypatch.setattr(usable_gpus, "_LONGEST_TRY_S", seconds)
        if (usable := try_each(["0", "1", "2", "3"], 0.9)) == ["0", "3"]:
            break
    assert usable == ["0", "3"]
