"""What one start of a run asks of its engine, measured while it works. No decision depends on it."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from selfinstruct.records import Completion


class Traffic:
    """Tokens by kind of request, and what the driver's process costs; counted from the first answer of this start.

    Attributes:
        read: prompt tokens by kind.
        cached: those of them that the engine had in its prefix cache, by kind; empty where the engine does not tell.
        written: completion tokens by kind.
    """

    def __init__(self) -> None:
        self.read: Counter[str] = Counter()
        self.cached: Counter[str] = Counter()
        self.written: Counter[str] = Counter()
        self._last = self._sample()

    def note(self, kind: str, completion: Completion) -> None:
        """Count an answer."""
        self.read[kind] += completion.prompt_tokens
        self.written[kind] += completion.completion_tokens
        if completion.cached_tokens is not None:
            self.cached[kind] += completion.cached_tokens

    def measured(self, in_flight: int, capacity: int) -> dict[str, Any]:
        """Return a row of measurements; rates are those since the last call.

        Args:
            in_flight: requests that the engine has.
            capacity: how many of them it computes at once.
        """
        before, now = self._last, self._sample()
        self._last = now
        seconds = max(now[0] - before[0], 1e-6)
        row: dict[str, Any] = {
            "running": min(in_flight, capacity),
            "waiting": max(0, in_flight - capacity),
            "prompt_tokens_per_s": round((now[2] - before[2]) / seconds, 1),
            "driver_cpu": round((now[1] - before[1]) / seconds, 3),
            "read": dict(self.read),
            "written": dict(self.written),
        }
        return row | ({"cached": dict(self.cached)} if self.cached else {})

    def _sample(self) -> tuple[float, float, int]:
        return time.monotonic(), time.process_time(), self.read.total()
