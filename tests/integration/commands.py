"""Run the command line as a user does: complete commands, and one that is interrupted while it generates."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def selfinstruct(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "selfinstruct", *arguments], capture_output=True, text=True, check=False
    )


def interrupted(*arguments: str, journal: Path, patience: float) -> None:
    """Start the command, wait at most `patience` seconds until the journal holds three lines, and send Ctrl-C."""
    process = subprocess.Popen(
        [sys.executable, "-m", "selfinstruct", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + patience
    while not journal.exists() or journal.read_bytes().count(b"\n") < 3:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, f"{journal} does not hold three lines after {patience:g} s"
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
