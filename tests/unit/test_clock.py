"""Deadlines as arithmetic: what people write, and the time to keep free."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import datetime

import pytest
from pydantic import ValidationError

from selfinstruct.clock import Reserve, earliest, iso, parse_duration, parse_moment
from selfinstruct.config.schema import Config
from tests.growth import assert_linear


@pytest.fixture(autouse=True)
def _in_berlin() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Europe/Berlin"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("8h", 28_800), ("90m", 5400), ("90min", 5400), ("1h30m", 5400), ("45s", 45), ("1d 2h", 93_600), ("0.5h", 1800)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "8", "eight hours", "8h and", "0s", "-1h", "8 weeks", "h", "1h-", "9999999999d"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="8h, 90m or 1h30m"):
        parse_duration(text)


@pytest.mark.parametrize("unit", ["9", "9.", "9 "])
def test_a_long_text_is_refused_at_once(unit: str) -> None:
    def refuse(text: str) -> None:
        with pytest.raises(ValueError, match="8h, 90m or 1h30m"):
            parse_duration(text)

    assert_linear(refuse, unit)


@pytest.mark.parametrize(
    ("now", "text", "then"),
    [
        ("2026-11-24T18:00+01:00", "07:00", "2026-11-25T07:00+01:00"),
        ("2026-11-24T05:00+01:00", "7:00", "2026-11-24T07:00+01:00"),
        ("2026-11-24T07:00+01:00", "07:00", "2026-11-25T07:00+01:00"),
        ("2026-11-24T18:00+01:00", "23:59:30", "2026-11-24T23:59:30+01:00"),
        # Nights on which clocks change are an hour longer or shorter.
        ("2026-10-24T22:00+02:00", "07:00", "2026-10-25T07:00+01:00"),
        ("2027-03-27T22:00+01:00", "07:00", "2027-03-28T07:00+02:00"),
        ("2026-11-24T18:00+01:00", "2026-12-01T07:00", "2026-12-01T07:00+01:00"),
        ("2026-11-24T18:00+01:00", "2026-12-01 07:00", "2026-12-01T07:00+01:00"),
        ("2026-11-24T18:00+01:00", "2026-12-01T07:00Z", "2026-12-01T07:00+00:00"),
    ],
)
def test_moments(now: str, text: str, then: str) -> None:
    assert parse_moment(text, at(now)) == at(then)


@pytest.mark.parametrize("text", ["", "tomorrow", "25:00", "07:60", "7", "2026-11-25", "2026-13-01T07:00", "07:00 pm"])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError, match="07:00"):
        parse_moment(text, 0.0)
    with pytest.raises(ValidationError, match="07:00"):
        Config.model_validate({"limits": {"finish_by": text}})


def test_the_earlier_of_two_counts() -> None:
    now = at("2026-11-24T18:00+01:00")
    assert earliest(None, None, now) is None
    assert earliest("07:00", "1h", now) == now + 3600
    assert earliest("19:00", "3h", now) == now + 3600
    assert iso(now + 0.7) == "2026-11-24T18:00:00+01:00"


def test_a_reserve_adds_up_and_survives_the_command_line() -> None:
    reserve = Reserve(seconds=10, seconds_per_instance=0.5, engine_starts=2, tokens=1000)
    assert reserve.after(40, engine_start_s=30, tokens_per_s=100) == 10 + 20 + 60 + 10
    assert reserve.after(40) == 30
    assert Reserve(seconds=100, most=60).after(40) == 60
    assert Reserve.from_json(reserve.to_json()) == reserve
