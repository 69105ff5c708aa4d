"""The processes of an engine: found among our children, ended, and remembered beside the run.

An engine's processes end with the program that started them (see `vllm_plugin`). Where that fails they would keep the
GPU's memory for nothing, so the run directory says which they are, and the next start of the run ends what is left.
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

from selfinstruct.formats import jsonl

_SAME_START_S = 1.0
"""Start times that differ by less are the same: the kernel counts from boot, and when that was is corrected by NTP."""


def children() -> set[psutil.Process]:
    """Our child processes and theirs, at all depths, without multiprocessing's resource tracker, which they share."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        try:
            if "multiprocessing.resource_tracker" not in " ".join(process.cmdline()):
                found.add(process)
        except psutil.Error:
            continue
    return found


def end(processes: Iterable[psutil.Process], seconds: float = 10.0) -> list[psutil.Process]:
    """Kill processes and their descendants, stopped ones too, and wait until they are gone.

    Args:
        processes: those to end; ones that are gone, or whose number belongs to another process now, are passed over.
        seconds: how long to wait.

    Returns:
        Those that are still there: they hang in the kernel.
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
    # Not psutil's `wait`: it would take the exit status away from whoever started the process and waits for it.
    deadline = time.monotonic() + seconds
    while (left := [p for p in doomed if lives(p)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def lives(process: psutil.Process) -> bool:
    """Whether a process runs or is stopped; one that is dead but not waited for has given everything back."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def remember(path: Path, processes: Iterable[psutil.Process]) -> None:
    """Write down which processes belong to the engine; with none, there is no file."""
    rows: list[dict[str, Any]] = []
    for process in processes:
        try:
            rows.append({"pid": process.pid, "started": process.create_time(), "name": process.name()})
        except psutil.Error:
            continue
    with contextlib.suppress(OSError):  # A full disk is the journal's matter.
        if rows:
            rows.sort(key=lambda row: row["pid"])
            jsonl.write_json(path, {"host": socket.gethostname(), "processes": rows})
        else:
            path.unlink(missing_ok=True)


def end_leftovers(path: Path) -> tuple[Sequence[int], Sequence[int]]:
    """End the processes that a dead run left behind, and forget them.

    Only those of this host whose number and start time are both as they were written down; anything else with the same
    number is somebody else's.

    Returns:
        The numbers of those ended, and of those that could not be.
    """
    found = [process for process in _remembered(path) if lives(process)]
    left = {process.pid for process in end(found)}
    path.unlink(missing_ok=True)
    return [p.pid for p in found if p.pid not in left], sorted(left)


def _remembered(path: Path) -> Iterable[psutil.Process]:
    try:
        note = json.loads(path.read_bytes())
        rows = [(int(row["pid"]), float(row["started"])) for row in note["processes"]]
        here = note["host"] == socket.gethostname()
    except (OSError, ValueError, KeyError, TypeError):
        return
    for pid, started in rows if here else ():
        try:
            process = psutil.Process(pid)
            if abs(process.create_time() - started) < _SAME_START_S and pid != os.getpid():
                yield process
        except (psutil.Error, ValueError, OverflowError):
            continue


def wait_until_gone(timeout_s: float = 60.0) -> None:
    """Wait for the engine's processes to end, and with them for the memory that they hold on the GPU."""
    import psutil

    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and any(map(_is_worker, psutil.Process().children(recursive=True))):
        time.sleep(0.1)


def _is_worker(process: Any) -> bool:
    """Whether a child process is the engine's, not one of Python's own helpers, which stay until the end."""
    import psutil

    try:
        return process.status() != psutil.STATUS_ZOMBIE and "resource_tracker" not in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False
