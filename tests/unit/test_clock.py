"""Deadlines as arithmetic: what people write, what is kept free, which training fits."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from selfinstruct.chain.schedule import Probe, fit_tuning
from selfinstruct.clock import SLACK, Reserve, earliest, iso, parse_duration, parse_moment
from selfinstruct.config.schema import Config


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


@pytest.mark.parametrize("text", ["", "8", "eight hours", "8h and", "0s", "-1h", "8 weeks", "h", "1h-"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="8h, 90m or 1h30m"):
        parse_duration(text)


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


PROBE = Probe(seconds_per_step=2.0, rows_per_step=8, overhead_s=30, epochs=3, max_steps=None, characters_per_row=100)


def test_a_training_that_fits_is_left_alone() -> None:
    assert PROBE.full_steps(80) == 30 and PROBE.full_steps(81) == 33 and PROBE.full_steps(1) == 3
    needed = SLACK * (30 + 30 * 2.0)
    assert fit_tuning(PROBE, rows=80, seconds=needed + 0.1).max_steps is None
    cut = fit_tuning(PROBE, rows=80, seconds=needed - 0.1)
    assert (cut.max_steps, cut.full_steps) == (29, 30)


def test_longer_rows_take_longer_steps_and_shorter_ones_are_not_trusted() -> None:
    assert fit_tuning(PROBE, rows=80, seconds=120, characters_per_row=200).max_steps == 17
    assert fit_tuning(PROBE, rows=80, seconds=120, characters_per_row=20) == fit_tuning(PROBE, rows=80, seconds=120)


def test_the_baseline_is_given_up_before_steps_are() -> None:
    both = SLACK * (2 * 30 + (30 + 12) * 2.0)
    assert fit_tuning(PROBE, rows=80, seconds=both + 0.1, baseline_rows=32).baseline
    alone = fit_tuning(PROBE, rows=80, seconds=both - 0.1, baseline_rows=32)
    assert (alone.max_steps, alone.baseline) == (None, False)
    # It never takes more steps than the model itself.
    assert fit_tuning(PROBE, rows=8, seconds=SLACK * (60 + 6 * 2.0) + 0.1, baseline_rows=10_000).baseline


@given(
    rows=st.integers(1, 10**6),
    seconds=st.floats(-100, 10**6),
    step=st.floats(0.001, 100),
    baseline=st.integers(0, 1000),
    user=st.one_of(st.none(), st.integers(1, 10_000)),
)
def test_what_is_planned_always_fits(rows: int, seconds: float, step: float, baseline: int, user: int | None) -> None:
    probe = Probe(step, 8, 5, 3, user, 100)
    fitted = fit_tuning(probe, rows=rows, seconds=seconds, baseline_rows=baseline)
    steps = fitted.full_steps if fitted.max_steps is None else fitted.max_steps
    assert 0 <= steps <= fitted.full_steps == (user or math.ceil(math.ceil(rows / 8) * 3))
    if steps:
        assert SLACK * (5 + steps * step) <= seconds * (1 + 1e-9)
    assert not fitted.baseline or (baseline and fitted.max_steps is None)
