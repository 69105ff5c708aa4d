"""Pause Python's cyclic garbage collection while very many lasting objects are created."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def gc_paused() -> Iterator[None]:
    """Turn off cyclic garbage collection inside the block.

    New objects start it again and again. Each time it visits all objects in memory: those that numba and vLLM have
    loaded, or a run of a million instructions. That takes several times as long as to create the objects.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
