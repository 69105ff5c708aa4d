"""The processes of an engine: find them among our children, end them, and record them in the run directory.

An engine's processes end with the program that started them (see `vllm_plugin`). If that fails, they keep the GPU's
memory without using it. So the run directory lists them, and the next start of the run ends those that still run.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import psutil

from selfinstruct import library_log_writer
from selfinstruct.formats import jsonl

_SAME_START_S = 1.0
"""Start times that differ by less count as the same: the kernel counts from boot, and NTP corrects the boot time."""


def children(of: psutil.Process | None = None) -> set[psutil.Process]:
    """Return the child processes of a process and their descendants, without the helpers that they share.

    Args:
        of: the process; None: this one.
    """
    engines = set()
    for process in (of or psutil.Process()).children(recursive=True):
        try:
            if not _is_helper(process):
                engines.add(process)
        except psutil.Error:
            continue
    return engines


def end(processes: Iterable[psutil.Process], seconds: float = 10.0) -> list[psutil.Process]:
    """Kill processes and their descendants, stopped ones too, and wait until they are gone.

    Args:
        processes: those to end. One that has ended, or whose number now belongs to another process, is skipped.
        seconds: how long to wait.

    Returns:
        Those that still run: they hang in the kernel.
    """
    doomed = set(processes)
    for process in list(doomed):
        try:
            doomed.update(process.children(recursive=True))
        except psutil.Error:
            continue
    for process in doomed:
        try:
            process.kill()
        except psutil.Error:
            continue
    # Not psutil's `wait`: it would take the exit status away from the code that started the process.
    deadline = time.monotonic() + seconds
    while (left := [p for p in doomed if lives(p)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def lives(process: psutil.Process) -> bool:
    """Return whether a process runs or is stopped. A zombie does not count: it holds no memory."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def remember(path: Path, processes: Iterable[psutil.Process]) -> None:
    """Write which processes belong to the engine, and to which program and directory; remove the file without any."""
    rows: list[dict[str, Any]] = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            rows.append(_row(process))
    with contextlib.suppress(OSError):  # The journal reports a full disk.
        if rows:
            rows.sort(key=lambda row: row["pid"])
            jsonl.write_json(path, {**_place(path), "program": _row(psutil.Process()), "processes": rows})
        else:
            path.unlink(missing_ok=True)


def end_leftovers(path: Path) -> tuple[Sequence[int], Sequence[int]]:
    """End the processes that a dead run left behind, and remove their record.

    Nothing is ended for a record that was made in another directory (a copied run) or on another host, or while the
    program that started the processes still runs. Of the recorded processes only those are ended whose number and
    start time are as recorded. Another process with the same number is left alone.

    Returns:
        The numbers of those ended, and of those that could not be.
    """
    leftovers = [process for process in _remembered(path) if lives(process)]
    left = {process.pid for process in end(leftovers)}
    path.unlink(missing_ok=True)
    return [p.pid for p in leftovers if p.pid not in left], sorted(left)


def _row(process: psutil.Process) -> dict[str, Any]:
    return {"pid": process.pid, "started": process.create_time(), "name": process.name()}


def _place(path: Path) -> dict[str, Any]:
    """Return what tells the folder of a record apart from every other one, copies of it included."""
    folder = path.parent.resolve()
    about = folder.stat()
    return {"host": socket.gethostname(), "directory": [str(folder), about.st_dev, about.st_ino]}


def _remembered(path: Path) -> list[psutil.Process]:
    """Return the recorded processes that may be ended."""
    try:
        note = json.loads(path.read_bytes())
        here = note | _place(path) == note
        program = _find(note["program"])
        running = [process for row in note["processes"] if (process := _find(row)) is not None]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    is_orphaned = program is None or program.pid == os.getpid() or not lives(program)
    return [process for process in running if process.pid != os.getpid()] if here and is_orphaned else []


def _find(row: dict[str, Any]) -> psutil.Process | None:
    """Return the process that a row is about; None if it has ended."""
    pid, started = int(row["pid"]), float(row["started"])
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < _SAME_START_S
    except (psutil.Error, ValueError, OverflowError):
        return None
    return process if same else None


def wait_until_gone(timeout_s: float = 60.0) -> None:
    """Wait until the engine's processes have ended; the memory that they hold on the GPU is free then."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and any(map(_is_worker, psutil.Process().children(recursive=True))):
        time.sleep(0.1)


def _is_worker(process: psutil.Process) -> bool:
    """Return whether a child process is the engine's. The helpers stay until the program ends."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE and not _is_helper(process)
    except psutil.NoSuchProcess:
        return False


def _is_helper(process: psutil.Process) -> bool:
    """Return whether a process is Python's own helper, or writes the log."""
    command = " ".join(process.cmdline())
    return "multiprocessing.resource_tracker" in command or library_log_writer.__name__ in command
