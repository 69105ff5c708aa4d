"""The window of requests at once, and rests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.engines.congestion import LONGEST_REST_S, Window, rest_s, retry_after_s

MOST = 256


def test_it_doubles_then_grows_by_one_a_round() -> None:
    window = Window(4, MOST)
    for _ in range(4):
        window.answered()
    assert window.size == 8
    window.congested()
    assert window.size == 4
    for _ in range(4):
        window.answered()
    assert window.size in (4, 5)  # One round of answers: one more at most.
    for _ in range(10):
        window.answered()
    assert 5 <= window.size <= 7


@given(st.lists(st.sampled_from(["answered", "congested", "restart"])), st.integers(1, 300))
def test_it_stays_between_one_and_the_most(events: list[str], first: int) -> None:
    window = Window(first, MOST)
    for event in events:
        before = window.size
        getattr(window, event)()
        assert 1 <= window.size <= MOST
        assert window.size <= max(1, before / 2) if event == "congested" else True


def test_it_reaches_what_a_server_can_do() -> None:
    """A server that takes 40 at once: after some rounds the window is between half of that and that."""
    window = Window(32, MOST)
    for _ in range(3000):
        window.congested() if window.size > 40 else window.answered()
    assert 20 <= window.size <= 40


@given(st.integers(1, 10_000))
def test_rests_double_up_to_a_minute(failures: int) -> None:
    whole = min(0.5 * 2.0 ** min(failures - 1, 20), LONGEST_REST_S)
    assert whole / 2 <= rest_s(failures) <= whole


@pytest.mark.parametrize("value", ["", "soon", "-1", "inf", "nan", "Fri, 99 Foo 2026"])
def test_a_wish_that_is_none(value: str) -> None:
    assert retry_after_s({"retry-after": value}) is None


def test_a_date_to_come_back_at() -> None:
    now = datetime(2026, 11, 27, 12, tzinfo=UTC)
    for later, seconds in ((30, 30.0), (-30, 0.0)):
        then = format_datetime(now + timedelta(seconds=later), usegmt=True)
        assert retry_after_s({"retry-after": then}, now) == seconds
