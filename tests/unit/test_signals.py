"""A computation that never ends is interrupted, and what was there before is as it was."""

from __future__ import annotations

import signal
import threading

import pytest

from selfinstruct.signals import at_most


def test_what_does_not_end_is_interrupted() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(TimeoutError, match=r"within 0\.05 s"), at_most(0.05):
        while True:
            pass
    assert signal.getsignal(signal.SIGALRM) == before and signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_what_ends_is_left_alone() -> None:
    with at_most(60):
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 60
        with at_most(0.0001):  # The outer bound holds.
            pass
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_other_threads_have_no_bound() -> None:
    ran = []

    def work() -> None:
        with at_most(60):
            ran.append(signal.getitimer(signal.ITIMER_REAL)[0])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ran == [0.0]
