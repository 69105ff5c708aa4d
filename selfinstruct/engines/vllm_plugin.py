"""A plugin that ends vLLM's processes when their program ends, also after `kill -9`, and records their errors.

Without it, an engine core runs on for minutes after its driver was killed, and keeps the GPU's memory. vLLM calls
plugins in each of its processes. This one is in two groups. `vllm.general_plugins` is meant for such things, but is
called only after the first message from the driver, for which an engine core may wait five minutes.
`vllm.platform_plugins` is called as soon as vLLM is imported.

The errors of an engine core are only in its log. They are also written into a file that the driver chooses, so that
the driver can name the cause.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys

from selfinstruct import parent_death
from selfinstruct.environment import LAST_WORDS, PARENT


def watch_children() -> None:
    """Make the engine processes that this process starts end with it."""
    os.environ[PARENT] = str(os.getpid())


def end_with_parent() -> None:
    """Make Linux kill this process when its parent dies, if `multiprocessing` started it for vLLM."""
    parent = os.environ.get(PARENT)
    # `parent_process()` is not known yet while the child unpickles its work; others (Ray's) are left alone.
    spawned = "--multiprocessing-fork" in sys.orig_argv or multiprocessing.parent_process() is not None
    if parent is None or parent == str(os.getpid()) or not spawned:
        return
    parent_death.end_with_parent(int(parent), signal.SIGKILL)
    watch_children()  # An engine core has workers of its own.
    write_down_errors()


def write_down_errors() -> None:
    """Write errors into the driver's file, and with them, unless the user wants vLLM's log, whatever else is said.

    A traceback of an engine is long, and its cause is somewhere in it; the driver says the cause.
    """
    path, logger = os.environ.get(LAST_WORDS), logging.getLogger("vllm")
    # The plugin is called twice, and vLLM may set up its loggers again in between.
    if path and not any(getattr(handler, "baseFilename", None) == path for handler in logger.handlers):
        handler = logging.FileHandler(path, delay=True)
        handler.setLevel(logging.ERROR)
        logger.addHandler(handler)
    if path and os.environ.get("VLLM_LOGGING_LEVEL") == "ERROR":
        with contextlib.suppress(OSError):  # The driver has ended.
            file = os.open(path, os.O_WRONLY | os.O_APPEND)
            os.dup2(file, 1)
            os.dup2(file, 2)
            os.close(file)
