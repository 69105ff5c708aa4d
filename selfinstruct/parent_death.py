"""End a process when its parent dies, also when the parent is killed with SIGKILL. Works only on Linux.

Every process of vLLM imports this module at its start, so it must import fast.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int, signal_number: int) -> None:
    """Make Linux send this process a signal when its parent dies. Exit at once if the parent has died already.

    Args:
        parent: process id of the parent.
        signal_number: the signal to send.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal_number))
    if os.getppid() != parent:
        os._exit(1)


def tie(signal_number: int) -> Callable[[], None]:
    """Return a `preexec_fn` for `subprocess`: the child gets the signal when this process dies.

    Args:
        signal_number: the signal to send.
    """
    parent = os.getpid()
    return lambda: end_with_parent(parent, signal_number)
