"""Try in a copy of this process what could use up its time or its memory, and learn whether it would."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

_HANGS_S = 60.0
"""Seconds by the clock after which it is ended in any case: it waits for something that never comes."""
_OUT_OF_MEMORY = 3


def excess(act: Callable[[], object], *, seconds: float, mebibytes: int) -> str:
    """Call a function in a forked copy of the process; return which bound it crosses, or nothing.

    The kernel holds the bounds, so that they hold inside a single long operation in C, too. What the function returns
    or raises is lost. It must not need other threads. Memory is bounded only where the system says how much the process
    has already (Linux).

    Args:
        act: the function.
        seconds: of processor time, at most.
        mebibytes: of memory beside what the process has, at most.
    """
    if not (pid := os.fork()):
        _run(act, seconds, mebibytes << 20)
    _, status = os.waitpid(pid, 0)
    if os.waitstatus_to_exitcode(status) == _OUT_OF_MEMORY:
        return f"it needs more than {mebibytes} MiB of memory"
    return f"it does not end within {seconds:g} s" if os.WIFSIGNALED(status) else ""


def _run(act: Callable[[], object], seconds: float, memory: int) -> None:
    """Call the function within its bounds, and end the process."""
    code = 0
    try:
        for number, timer, most in (
            (signal.SIGPROF, signal.ITIMER_PROF, seconds),
            (signal.SIGALRM, signal.ITIMER_REAL, _HANGS_S),
        ):
            signal.signal(number, signal.SIG_DFL)
            signal.setitimer(timer, most)
        if (size := Path("/proc/self/statm")).exists():
            present = int(size.read_text().split()[0]) * resource.getpagesize()
            _, most_allowed = resource.getrlimit(resource.RLIMIT_AS)
            resource.setrlimit(resource.RLIMIT_AS, (present + memory, most_allowed))
        act()
    except MemoryError:
        code = _OUT_OF_MEMORY
    finally:
        os._exit(code)  # What the function raises is lost here.
