"""The window: how many proposals may be in flight, so how old the pool is that a proposal sees.

The first proposals should see the pool soon. Later it hardly changes between two of them, and a large engine wants many
at once.
"""

from __future__ import annotations

_LEAST, _FULL = 8, 1024
_RAMP = 1536
"""The window that a growing one reaches soon: enough for an engine of 1,024 places (`benchmarks/window.py`)."""


def first_window(num_instructions: int) -> int:
    """Return the window that a run begins with where none is given.

    A large run fills a large engine from its first minute: 1,024 is the number of sequences that an H100 computes at
    once. A small run sees its pool soon, and asks for few proposals that it does not need. At eight tasks a proposal,
    half of them accepted, it is a sixth of the run.

    Args:
        num_instructions: the target of the run's first start.
    """
    return min(max(num_instructions // 25, _LEAST), _FULL)


def window_at(n: int, first: int, share: float) -> int:
    """Return the window of proposal n: half of the proposals so far, up to 1,536, and then a share of them.

    Args:
        n: the proposal's number, from 0.
        first: the least window.
        share: the share; 0: the window does not grow.
    """
    return max(first, min(n // 2, _RAMP), int(share * n)) if share else first
