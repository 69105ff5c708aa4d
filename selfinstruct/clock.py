"""Deadlines: parse what a person writes, and compute the time to keep free before a deadline. Arithmetic only.

Moments are Unix seconds, as `time.time` returns them. So a deadline follows the wall clock, also if the machine slept
or its clock was set.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

Clock = Callable[[], float]
"""Returns the time, in Unix seconds."""

_UNITS_S = {"d": 86_400, "h": 3600, "m": 60, "min": 60, "s": 1}
_LONGEST_S = 3650 * 86_400
"""No clock of the system waits for longer than some centuries."""
_DURATION = re.compile(r"(?<!\d)(\d+(?:\.\d+)?)\s*(min|[dhms])", re.IGNORECASE)  # Looked for once in a row of digits.
_TIME_OF_DAY = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?")

SAFETY_FACTOR = 1.2
"""Safety factor on time estimates, because a deadline cannot be moved."""


def parse_duration(text: str) -> float:
    """Return the seconds of `8h`, `90m`, `1h30m`, `45s`, `1d 2h`.

    Raises:
        ValueError: the text has another form, or the duration is 0 or longer than ten years.
    """
    parts = _DURATION.findall(text)
    seconds = sum(float(number) * _UNITS_S[unit.lower()] for number, unit in parts)
    if _DURATION.sub("", text).strip() or not 0 < seconds <= _LONGEST_S:
        raise ValueError(f"must be a duration of at most ten years such as 8h, 90m or 1h30m, got {text!r}")
    return seconds


def parse_moment(text: str, now: float) -> float:
    """Return the moment of a time of day (`07:00`: the next one, local) or of a date with time (ISO 8601).

    A date with time (`2026-11-25 07:00`) is local unless it names an offset.

    Raises:
        ValueError: the text is neither of them.
    """
    if match := _TIME_OF_DAY.fullmatch(text.strip()):
        hour, minute, second = (int(part or 0) for part in match.groups())
        # Without an offset, the same time of tomorrow is right even when clocks change tonight.
        local = _local(now).replace(hour=hour, minute=minute, second=second, microsecond=0)
        return (local if local.timestamp() > now else local + timedelta(days=1)).timestamp()
    try:
        if ":" not in text:
            raise ValueError
        return datetime.fromisoformat(text.strip()).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError(
            f"must be a local time such as 07:00 or a date with time such as 2026-11-25T07:00, got {text!r}"
        ) from error


def earliest(finish_by: str | None, time_limit: str | None, now: float) -> float | None:
    """Return the deadline that two options set: the earlier one if both are given, None if neither is.

    Args:
        finish_by: a time or a date with time, as for `parse_moment`.
        time_limit: a duration from now, as for `parse_duration`.
        now: the time now, in Unix seconds.
    """
    moments = []
    if finish_by is not None:
        moments.append(parse_moment(finish_by, now))
    if time_limit is not None:
        moments.append(now + parse_duration(time_limit))
    return min(moments, default=None)


def iso(moment: float) -> str:
    """Return a moment as local time with its offset, to the second: `2026-11-25T07:00:00+01:00`."""
    return datetime.fromtimestamp(math.floor(moment), UTC).astimezone().isoformat()


def clock_text(moment: float) -> str:
    """Return a moment for people: `Wed 07:00`."""
    return f"{_local(moment):%a %H:%M}"


def _local(moment: float) -> datetime:
    """Return the local wall-clock time without an offset."""
    return datetime.fromtimestamp(moment, UTC).astimezone().replace(tzinfo=None)


@dataclass(frozen=True)
class Reserve:
    """Time that generation leaves for the stages after it.

    Attributes:
        seconds: the part that does not depend on what is generated.
        seconds_per_instance: time of tuning for each generated instance.
        engine_starts: how many engines the evaluation starts. The time of a start is measured when generation starts.
        tokens: completion tokens of the evaluation. Their speed is measured during generation.
        most: upper bound of the whole reserve, in seconds; None: no bound.
    """

    seconds: float = 0.0
    seconds_per_instance: float = 0.0
    engine_starts: int = 0
    tokens: int = 0
    most: float | None = None

    def after(self, instances: float, engine_start_s: float = 0.0, tokens_per_s: float = 0.0) -> float:
        """Return the seconds to keep free.

        Args:
            instances: generated instances.
            engine_start_s: seconds that an engine takes to start.
            tokens_per_s: completion tokens per second; 0: not measured yet, so `tokens` is ignored.
        """
        evaluation = self.engine_starts * engine_start_s + (self.tokens / tokens_per_s if tokens_per_s > 0 else 0.0)
        seconds = self.seconds + instances * self.seconds_per_instance + evaluation
        return seconds if self.most is None else min(seconds, self.most)

    def to_json(self) -> str:
        """Return the text that `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Reserve:
        """Return the reserve that `to_json` wrote."""
        return cls(**json.loads(text))
