"""Run the command line as a user does: complete commands, and those that a signal or a dead engine disturbs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil


def selfinstruct(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "selfinstruct", *arguments], capture_output=True, text=True, check=False
    )


def interrupted(*arguments: str, journal: Path, patience: float) -> None:
    """Start the command, wait at most `patience` seconds until the journal holds three lines, and send Ctrl-C.

    As a terminal does, it goes to the whole process group: the engine's processes get it, too.
    """
    process = _started(*arguments)
    _until_lines(process, journal, 3, patience)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=400)
    assert process.returncode == 130, said
    assert "Traceback" not in said and "KeyboardInterrupt" not in said, said


def bereft_of_its_engine(*arguments: str, run: Path, patience: float) -> tuple[str, list[psutil.Process]]:
    """Start the command, kill its engine with -9 once the journal grows, and wait for the end.

    Returns:
        Its stderr, and the processes of the engine that was killed.
    """
    journal = run / "journal.jsonl"
    process = _started(*arguments)
    _until_lines(process, journal, journal.read_bytes().count(b"\n") + 2, patience)
    note = json.loads((run / ".engine.json").read_text())
    engine = [psutil.Process(row["pid"]) for row in note["processes"]]
    for member in engine:
        member.kill()
    _, said = process.communicate()
    assert process.returncode == 0, said
    return said, engine


def _started(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "selfinstruct", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def _until_lines(process: subprocess.Popen[str], journal: Path, number: int, patience: float) -> None:
    deadline = time.monotonic() + patience
    while not journal.exists() or journal.read_bytes().count(b"\n") < number:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, f"{journal} does not hold {number} lines after {patience:g} s"
        time.sleep(0.05)
