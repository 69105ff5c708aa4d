"""What crosses its bounds in a copy of the process."""

import os
import signal

from selfinstruct.trial import excess


def test_a_bound_that_is_crossed_is_named_even_inside_one_operation() -> None:
    assert excess(lambda: 3 ** (10**9), seconds=0.05, mebibytes=4096) == "it does not end within 0.05 s"
    assert excess(lambda: bytes(1 << 30), seconds=60, mebibytes=64) == "it needs more than 64 MiB of memory"


def test_what_ends_in_time_is_nothing_whatever_it_returns_or_raises() -> None:
    assert excess(lambda: 5, seconds=60, mebibytes=256) == ""
    assert excess(lambda: 1 / 0, seconds=60, mebibytes=256) == ""
    assert (
        excess(lambda: os.kill(os.getpid(), signal.SIGKILL), seconds=60, mebibytes=256) == "it does not end within 60 s"
    )
