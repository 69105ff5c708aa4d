"""What is left of a program after its end: processes, and memory of the GPU."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence

import psutil

from selfinstruct.engines import processes
from selfinstruct.hardware import Hardware

_PR_SET_CHILD_SUBREAPER = 36
_SLACK = 64 << 20
"""Bytes of GPU memory that may differ without any program of ours."""


def adopt_orphans() -> None:
    """Make descendants whose parents die our children, so that none is lost from sight (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants() -> list[psutil.Process]:
    """Return all descendants of this process that still run."""
    return [p for p in psutil.Process().children(recursive=True) if processes.lives(p)]


def names(members: list[psutil.Process]) -> list[str]:
    """Return the processes' command lines, shortened."""
    said = []
    for process in members:
        try:
            said.append(" ".join(process.cmdline())[:120] or process.name())
        except psutil.Error:
            continue
    return said


def end_descendants() -> None:
    """Kill all descendants of this process."""
    processes.end(descendants())


def gone_after(seconds: float = 5.0, members: Sequence[psutil.Process] | None = None) -> float | None:
    """Wait until processes have gone; return after how many seconds, or None if some are left.

    Args:
        seconds: to wait at most.
        members: the processes; default: all descendants of this one.
    """
    began = time.monotonic()
    while descendants() if members is None else any(map(processes.lives, members)):
        if time.monotonic() - began > seconds:
            return None
        time.sleep(0.05)
    return time.monotonic() - began


def gpu_bytes() -> int | None:
    """Return the memory in use on all GPUs, or None if there is no GPU."""
    gpus = Hardware.here().gpus
    return sum(gpu.total - gpu.free for gpu in gpus) if gpus else None


def memory_back(before: int | None, seconds: float = 5.0) -> float | None:
    """Wait until no more GPU memory is in use than before; return after how many seconds, or None if some is kept."""
    began = time.monotonic()
    while before is not None and (gpu_bytes() or 0) > before + _SLACK:
        if time.monotonic() - began > seconds:
            return None
        time.sleep(0.1)
    return time.monotonic() - began
