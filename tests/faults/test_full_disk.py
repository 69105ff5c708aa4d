"""A disk gets full at any moment: the message is clear, nothing committed is lost, and the run continues with space."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.run.journal import read_lines
from selfinstruct.run.state import replay
from tests.conftest import run_scripted
from tests.faults.driven import PATIENCE_S, Driven
from tests.faults.same import assert_same


class SmallDisk:
    """A separate file system, which can be made larger."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()

    def mount(self, pages: int) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={pages * 4096}", "tmpfs", str(self.path)], check=True)

    def resize(self, pages: int) -> None:
        """A page is 4 KiB."""
        subprocess.run(["mount", "-o", f"remount,size={pages * 4096}", str(self.path)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    small = SmallDisk(tmp_path / "disk")
    try:
        small.mount(1)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    yield small
    subprocess.run(["umount", "--lazy", str(small.path)], check=True)


def test_a_disk_that_is_full_again_and_again(make_config: Any, tmp_path: Path, disk: SmallDisk) -> None:
    whole = make_config(output_dir=str(tmp_path / "whole"))
    run_scripted(whole)
    draw = random.Random(3)
    driven = Driven(tmp_path, make_config(output_dir=str(disk.path / "run")), latency=0.002)
    full = pages = 0
    kept: list[bytes] = []
    while True:
        pages += draw.randint(1, 5)
        disk.resize(pages)
        process = driven.start(pages)
        _, said = process.communicate(timeout=PATIENCE_S)
        if process.returncode == 0:
            break
        full += 1
        assert process.returncode == 1, said
        assert "No space left on device" in said and "make room" in said and str(disk.path) in said
        assert "Traceback" not in said and "not expected" not in said and "never retrieved" not in said
        if driven.journal.exists():
            lines = driven.journal.read_bytes().split(b"\n")[:-1]
            assert lines[: len(kept)] == kept, "something committed was lost"
            kept = lines
            replay(read_lines(driven.journal))
    assert full >= 4 and len(kept) > 10, "the disk was full too rarely, so this test shows nothing"
    disk.resize(pages + 200)  # An export is written beside the one that is there.
    assert_same(driven.config, whole)
