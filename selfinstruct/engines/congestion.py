"""How many requests a server gets at once, and how long it rests: pure numbers, without a clock.

The window grows and shrinks as TCP's does (Jacobson 1988): it doubles with every round of answers up to where the
server was once too busy, then grows by one a round, and halves when the server is too busy.
"""

from __future__ import annotations

import email.utils
import random
from collections.abc import Mapping
from datetime import UTC, datetime

LONGEST_REST_S = 60.0


class Window:
    """The number of requests that a server gets at once.

    Args:
        first: at the beginning.
        most: never more than this.
    """

    def __init__(self, first: int, most: int) -> None:
        self._size = float(min(first, most))
        self._most = most
        self._careful_from = float(most)

    @property
    def size(self) -> int:
        """Requests at once; at least 1."""
        return int(self._size)

    def answered(self) -> None:
        """Grow, after an answer that came while the window was full."""
        step = 1.0 if self._size < self._careful_from else 1.0 / self._size
        self._size = min(self._size + step, float(self._most))

    def congested(self) -> None:
        """Halve, and grow carefully from there on."""
        self._size = self._careful_from = max(1.0, self._size / 2)

    def restart(self) -> None:
        """Begin with one request again, for a server that was away."""
        self._size = 1.0


def rest_s(failures: int, first: float = 0.5, longest: float = LONGEST_REST_S) -> float:
    """Return how long to wait after some failures in a row: doubled each time, and never the same for two clients.

    Args:
        failures: in a row, at least 1.
        first: after the first of them, in seconds.
        longest: in seconds.
    """
    whole: float = min(first * 2.0 ** min(failures - 1, 30), longest)
    return whole * random.uniform(0.5, 1.0)


def retry_after_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return for how many seconds a server wants to be left alone; None where it does not say.

    Args:
        headers: of its answer; names in lower case.
        now: default: the present time.

    >>> retry_after_s({"retry-after": "7"}), retry_after_s({"retry-after-ms": "250"}), retry_after_s({})
    (7.0, 0.25, None)
    """
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    if (seconds := _number(value)) is not None or value is None:
        return seconds
    try:
        then = email.utils.parsedate_to_datetime(value)
        then = then if then.tzinfo else then.replace(tzinfo=UTC)
        return max(0.0, (then - (now or datetime.now(UTC))).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None
