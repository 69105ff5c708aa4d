"""vLLM's processes end with the program that started them, also when that is killed with -9, and say why they failed.

Left alone, an engine core outlives its killed driver by minutes and keeps the GPU's memory. vLLM calls plugins in each
of its processes, and this one is in two groups: `vllm.general_plugins` is meant for such things, but comes after
the engine core has heard from its driver, for which it may wait five minutes; `vllm.platform_plugins` comes as soon as
vLLM is imported.

What goes wrong in an engine core is in its log alone. So that its driver can name the cause, errors are also written
into a file of the driver's choice.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys

from selfinstruct import parent_death
from selfinstruct.environment import LAST_WORDS, PARENT


def watch_children() -> None:
    """Let the engine processes that this one starts end with it."""
    os.environ[PARENT] = str(os.getpid())


def end_with_parent() -> None:
    """In a process that `multiprocessing` started for vLLM: have Linux kill it when its parent dies."""
    parent = os.environ.get(PARENT)
    # `parent_process()` is not known yet while the child unpickles its work; others (Ray's) are not ours to end.
    spawned = "--multiprocessing-fork" in sys.orig_argv or multiprocessing.parent_process() is not None
    if parent is None or parent == str(os.getpid()) or not spawned:
        return
    parent_death.end_with_parent(int(parent), signal.SIGKILL)
    watch_children()  # An engine core has workers of its own.
    _write_down_errors()


def _write_down_errors() -> None:
    path, logger = os.environ.get(LAST_WORDS), logging.getLogger("vllm")
    # The plugin is called twice, and vLLM may set up its loggers again in between.
    if path and not any(getattr(handler, "baseFilename", None) == path for handler in logger.handlers):
        handler = logging.FileHandler(path, delay=True)
        handler.setLevel(logging.ERROR)
        logger.addHandler(handler)
