"""Whether work grows in proportion to its input, by the ratio of two sizes: no machine is too slow for that."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from selfinstruct.gc_paused import gc_paused

_SMALL, _TIMES = 4_000, 8
_MOST = 25
"""Between 8, the ratio of work in proportion, and 64, that of quadratic work."""
_LEAST_S = 0.001
"""Below this the ratio says nothing."""


def assert_linear(work: Callable[[str], Any], unit: str, *, begin: str = "", end: str = "") -> None:
    """Assert that eight times as many repetitions of a text take less than 25 times as much of the processor's time.

    Args:
        work: what is measured.
        unit: the text that is repeated.
        begin: what stands before the repetitions.
        end: what stands after them.
    """
    small, large = (begin + unit * (size // len(unit)) + end for size in (_SMALL, _SMALL * _TIMES))
    bound = _MOST * max(_LEAST_S, min(_seconds(work, small) for _ in range(3)))
    assert any(_seconds(work, large) < bound for _ in range(3)), f"{unit!r}, repeated: more than {bound:.3f} s"


def _seconds(work: Callable[[str], Any], text: str) -> float:
    with gc_paused():  # A collection takes as long as all objects of all tests together need.
        began = time.process_time()
        work(text)
        return time.process_time() - began
