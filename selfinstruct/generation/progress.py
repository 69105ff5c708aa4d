"""The progress of a run on stderr: a live display on a terminal, else one line per interval."""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from types import TracebackType

from rich.live import Live
from rich.table import Table
from rich.text import Text

from selfinstruct.console import console
from selfinstruct.run.lines import Line
from selfinstruct.run.state import RunState
from selfinstruct.text import duration

_STILL_S = 30.0
"""Seconds between two lines that say what is waited for."""
_WINDOW_S = 30.0
"""Rates are averages over this many seconds."""
_GROWTH = 1.001
"""Tokens between two points of the history, as a factor: it stays short in a long run."""


@contextlib.asynccontextmanager
async def still(doing: str, interval: float = _STILL_S) -> AsyncIterator[None]:
    """Say now and then that something goes on before there is any progress to show.

    Args:
        doing: what goes on.
        interval: seconds between two lines.
    """

    async def say() -> None:
        began = time.monotonic()
        while True:
            await asyncio.sleep(interval)
            console.print(f"still {doing}, {duration(time.monotonic() - began)} so far", markup=False)

    saying = asyncio.ensure_future(say())
    try:
        yield
    finally:
        saying.cancel()
        await asyncio.gather(saying, return_exceptions=True)


class GenerationProgress:
    """Shows a generation run; a context manager around it.

    On a terminal another thread draws it, so that it reads copies of what grows.

    Args:
        state: read at every refresh.
        interval: seconds between lines where stderr is no terminal.
        in_flight: returns the requests in flight.
    """

    def __init__(self, state: RunState, in_flight: Callable[[], int], interval: float = 10.0) -> None:
        self._state = state
        self._in_flight = in_flight
        self._interval = interval
        self._samples: deque[tuple[float, int, int]] = deque()
        self._history = [(0, 0)]  # Tokens of proposals and accepted instructions, from the run's beginning on.
        self._started = self._last_line = self._last_sample = time.monotonic()
        self._live: Live | None = None
        self._sample()

    def __enter__(self) -> GenerationProgress:
        if console.is_terminal:
            self._live = Live(get_renderable=self._table, console=console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        console.print(self.line())

    def on_commit(self, line: Line) -> None:
        """Update the display after a committed line; cheap."""
        now = time.monotonic()
        if now - self._last_sample >= 0.5:
            self._last_sample = now
            self._sample()
        self.tick()

    def tick(self) -> None:
        """Print a line where one is due; also while nothing is committed."""
        now = time.monotonic()
        if self._live is None and now - self._last_line >= self._interval:
            self._last_line = now
            console.print(self.line())

    def rates(self) -> dict[str, float]:
        """Return completion tokens and accepted instructions per second, over the last half minute.

        `left_s`, the seconds until the target is reached and all instances are written, is there where it can be
        known. It goes by the tokens that are left, and by the tokens per second.
        """
        self._sample()
        (then, tokens, accepted), (now, tokens_now, accepted_now) = self._samples[0], self._samples[-1]
        seconds = max(now - then, 1e-6)
        rates = {
            "completion_tokens_per_s": round((tokens_now - tokens) / seconds, 1),
            "accepted_per_s": round((accepted_now - accepted) / seconds, 4),
        }
        left = self._tokens_left()
        if left and tokens_now > tokens:
            rates["left_s"] = round(left * seconds / (tokens_now - tokens), 1)
        return rates

    def line(self) -> str:
        """Return the state as one line."""
        state, rates = self._state, self.rates()
        rejected = state.rejected.total()
        parts = [
            f"generate: {len(state.pool)}/{state.target} accepted",
            f"{rejected} rejected" + (f" ({self._reasons()})" if rejected else ""),
            f"{state.num_instances} instances",
            f"{rates['completion_tokens_per_s']:,.0f} tokens/s",
            f"{self._in_flight()} in flight",
        ]
        failed = state.failures.total()
        if failed:
            parts.append(f"{failed} requests failed")
        return " · ".join(parts) + self._eta(rates)

    def _sample(self) -> None:
        now = time.monotonic()
        self._samples.append((now, self._state.completion_tokens, len(self._state.pool)))
        proposed = self._state.usage["proposal"].completion_tokens
        if proposed > _GROWTH * self._history[-1][0]:
            self._history.append((proposed, len(self._state.pool)))
        while len(self._samples) > 2 and now - self._samples[0][0] > _WINDOW_S:
            self._samples.popleft()

    def _reasons(self) -> str:
        return ", ".join(f"{reason} {n}" for reason, n in Counter(dict(self._state.rejected)).most_common(4))

    def _tokens_left(self) -> float | None:
        """Return the completion tokens up to the end of the run; None: not known.

        Proposals and instances come in waves, so that each kind is counted by itself.
        """
        state, accepted = self._state, len(self._state.pool)
        written = len(state.instances) * (state.num_answers / state.num_inputs if state.num_inputs else 1.0)
        cost = self._tokens_for_each()
        if cost is None or not written:
            return None
        cost_of_writing = (state.completion_tokens - state.usage["proposal"].completion_tokens) / written
        return max(0, state.target - accepted) * cost + max(0.0, state.target - written) * cost_of_writing

    def _tokens_for_each(self) -> float | None:
        """Return the tokens of proposals for each instruction accepted in their second half; None: not known."""
        tokens, accepted = self._state.usage["proposal"].completion_tokens, len(self._state.pool)
        half = bisect.bisect_left(self._history, (tokens / 2, 0))
        # Past the end: what was committed since the last sample, by another thread, is the half of all.
        for tokens_then, accepted_then in (*self._history[half : half + 1], (0, 0)):
            if accepted > accepted_then:
                return (tokens - tokens_then) / (accepted - accepted_then)
        return None

    def _eta(self, rates: dict[str, float]) -> str:
        finishing = self._state.target <= len(self._state.pool)
        if finishing and not self._in_flight():
            return ""
        left = f" · about {duration(rates['left_s'])} left" if "left_s" in rates else ""
        return (" · finishing instances" if finishing else "") + left

    def _table(self) -> Table:
        state, rates = self._state, self.rates()
        accepted, rejected = len(state.pool), state.rejected.total()
        done = min(1.0, accepted / max(state.target, 1))
        bar = "━" * round(done * 30)
        table = Table.grid(padding=(0, 2))
        table.add_row(
            "accepted",
            Text.assemble((bar, "green"), f"{'╌' * (30 - len(bar))} {accepted}/{state.target}{self._eta(rates)}"),
        )
        candidates = f"{rejected} of {accepted + rejected} candidates  "
        table.add_row("rejected", Text.assemble(candidates, (self._reasons(), "dim")))
        table.add_row("instances", f"{state.num_instances} kept, {state.instances_rejected.total()} rejected")
        table.add_row(
            "engine", f"{rates['completion_tokens_per_s']:,.0f} tokens/s, {self._in_flight()} requests in flight"
        )
        if state.failures:
            failures = [f"{kind}: {reason} {n}" for (kind, reason), n in dict(state.failures).items()]
            table.add_row("failed", ", ".join(failures))
        table.add_row("elapsed", duration(time.monotonic() - self._started))
        return table
