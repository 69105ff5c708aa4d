"""What a person sees of a run on stderr: messages, progress of a stream or of answers, a closing table."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from selfinstruct.text import duration

console = Console(stderr=True, highlight=False, soft_wrap=True)
"""Where everything that is no data is written. rich honours NO_COLOR."""

_INTERVAL_S = 10.0


@contextlib.contextmanager
def reading(interval: float = 10.0) -> Iterator[Callable[[str], None]]:
    """Show the latest state, in a sentence, of work on a stream whose end is not known.

    On a terminal it is one line that changes; elsewhere a line per `interval` seconds, and none for short work.
    """
    last = time.monotonic()

    def tell(sentence: str) -> None:
        nonlocal last
        if status is not None:
            status.update(sentence)
        elif time.monotonic() - last >= interval:
            last = time.monotonic()
            console.print(sentence, markup=False)

    with console.status("") if console.is_terminal else contextlib.nullcontext() as status:
        yield tell


def stage(title: str) -> None:
    """Announce a stage of the chain."""
    console.print(f"[bold]{title}[/bold]")


def closing_table(title: str, rows: list[tuple[str, Any]], next_command: str | None = None) -> None:
    """What was left behind, with paths, and what to do next."""
    table = Table(
        title=title, title_justify="left", title_style="bold", show_header=False, box=None, padding=(0, 2, 0, 0)
    )
    for name, value in rows:
        table.add_row(name, str(value))
    console.print(table)
    if next_command:
        console.print(f"next: [bold]{next_command}[/bold]")
    sys.stderr.flush()


class AnswerProgress:
    """Counts an arm's answers; a context manager around their making."""

    def __init__(self, name: str, total: int, what: str = "answers", interval: float = _INTERVAL_S) -> None:
        self._name = name
        self._what = what
        self._total = total
        self._interval = interval
        self._done = self._tokens = 0
        self._started = self._last_line = time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> AnswerProgress:
        if console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=console, transient=True)
            self._task = self._bar.add_task(f"{self._what} of {self._name}", total=self._total)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        console.print(self.line())

    def advance(self, tokens: int) -> None:
        """Count one more answer and its tokens."""
        self._done += 1
        self._tokens += tokens
        if self._bar is not None:
            self._bar.advance(self._task)
        elif time.monotonic() - self._last_line >= self._interval:
            self._last_line = time.monotonic()
            console.print(self.line())

    def line(self) -> str:
        """How far it is, in one line."""
        seconds = time.monotonic() - self._started
        rate = self._tokens / max(seconds, 1e-6)
        return f"{self._name}: {self._done}/{self._total} {self._what} in {duration(seconds)}, {rate:,.0f} tokens/s"
