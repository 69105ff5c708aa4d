"""vLLM's processes end with the program that started them, also when that is killed with -9.

vLLM loads plugins in each of its processes. This one stands in two groups: `vllm.general_plugins` is meant for such
things, but is read only after the engine core has heard from its driver, for which it would wait five minutes;
`vllm.platform_plugins` is read as soon as vLLM is imported. Left alone, an engine core outlives its killed driver by
minutes and keeps the GPU's memory.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal

SWITCH = "SELFINSTRUCT_ENGINE_ENDS_WITH_DRIVER"
"""Environment variable, inherited by the engine's processes: only engines that this program starts are concerned."""


def end_with_parent() -> None:
    """In a child process of a `multiprocessing` parent: have Linux kill it when the parent dies."""
    parent = multiprocessing.parent_process()
    if not os.environ.get(SWITCH) or parent is None:
        return
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent.pid:  # It died before it could be watched.
        os._exit(1)
