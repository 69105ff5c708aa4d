"""Keep Python's cyclic garbage collection from visiting lasting objects again and again."""

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


@contextlib.contextmanager
def gc_frozen() -> Iterator[None]:
    """Let the garbage collection inside the block pass over all objects from before it.

    A collection of everything visits half a million objects that libraries have made: a tenth of a second each time.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
