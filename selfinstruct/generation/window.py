"""The window: how many proposals may be in flight, so how old the pool is that a proposal sees.

The first proposals should see the pool soon. Later it hardly changes between two of them, and a large engine wants many
at once.
"""

from __future__ import annotations

_LEAST, _FULL = 8, 2048


def first_window(num_instructions: int) -> int:
    """Return the window that a run begins with where none is given.

    A large run fills a large engine from its first minute: an H100 computes 1,024 sequences at once, and as many again
    are begun before the longest of the first has ended (`benchmarks/window.py`). A small run sees its pool soon, and
    asks for few proposals that it does not need. At eight tasks a proposal, half of them accepted, it is a fifth of
    the run.

    Args:
        num_instructions: the target of the run's first start.
    """
    return min(max(num_instructions // 20, _LEAST), _FULL)


def window_soon(first: int) -> int:
    """Return the window that a growing one reaches soon, where none is given: a quarter more.

    With `first_window` that is a quarter of the run, so that no proposal sees an older pool than that.

    Args:
        first: the window that the run begins with.
    """
    return first + first // 4


def window_at(n: int, first: int, soon: int, share: float) -> int:
    """Return the window of proposal n: half of the proposals so far, up to a limit, and then a share of them.

    Args:
        n: the proposal's number, from 0.
        first: the least window.
        soon: the limit.
        share: the share; 0: the window does not grow.
    """
    return max(first, min(n // 2, soon), int(share * n)) if share else first
