"""Python's cyclic garbage collection, held off while very many objects are made that all stay."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def gc_paused() -> Iterator[None]:
    """No cyclic garbage collection inside the block.

    New objects set it off, over and over, to walk through all that is in memory: what numba and vLLM have loaded, or a
    run of a million instructions. That takes several times as long as making them.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
