"""What a run shows to a person on stderr: messages, progress, and a table at the end."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from selfinstruct.environment import OUTPUT
from selfinstruct.text import duration, printable


class PlainConsole(Console):
    """A console on which no text of a file, a model or a path is obeyed: neither control characters nor markup."""

    def __init__(self, **options: Any) -> None:
        if os.environ.get("NO_COLOR"):  # rich leaves out colours alone, and writes bold and dim.
            options.setdefault("color_system", None)
        super().__init__(**{"highlight": False, "markup": False, "emoji": False, **options})

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a string as rich renders it, with escapes in place of its control characters."""
        return super().render_str(printable(text), **options)


console = PlainConsole(stderr=True, soft_wrap=True)
"""Where all messages are written; stdout is for data only. rich obeys NO_COLOR."""
console.quiet = os.environ.get(OUTPUT) == "quiet"

_INTERVAL_S = 10.0


def say(how_much: str) -> None:
    """Say `quiet`: only results; `verbose`: also what libraries write; or anything else: the program's own messages.

    Errors are always written. The stages that this process starts do the same.
    """
    os.environ[OUTPUT] = how_much
    console.quiet = how_much == "quiet"


def how_much() -> str:
    """Return what `say` was last given, in this process or the one that started it as a stage."""
    return os.environ.get(OUTPUT, "")


def is_verbose() -> bool:
    """Return whether the user wants to see what libraries write."""
    return how_much() == "verbose"


@contextlib.contextmanager
def result() -> Iterator[None]:
    """Print what a command ends with, also where it is to be quiet."""
    before, console.quiet = console.quiet, False
    try:
        yield
    finally:
        console.quiet = before


@contextlib.contextmanager
def reading(interval: float = 10.0) -> Iterator[Callable[[str], None]]:
    """Show the progress of work on a stream of unknown length. Yield a function that takes a sentence to show.

    On a terminal one line shows the latest sentence. Elsewhere a line is written at most every `interval` seconds, so
    short work writes none.
    """
    last = time.monotonic()

    def show(sentence: str) -> None:
        nonlocal last
        if status is not None:
            status.update(Text(printable(sentence)))
        elif time.monotonic() - last >= interval:
            last = time.monotonic()
            console.print(sentence)

    with console.status("") if console.is_terminal else contextlib.nullcontext() as status:
        yield show


def stage(title: str) -> None:
    """Announce a stage of the chain."""
    console.print(title, style="bold")


def closing_table(title: str, rows: list[tuple[str, Any]], next_command: str | None = None) -> None:
    """Print what was written, with paths, and what to do next.

    Args:
        title: heading of the table.
        rows: (name, value) of each row.
        next_command: the command to run next; None: no advice.
    """
    width = max((len(name) for name, _ in rows), default=0)
    with result():
        console.print(title, style="bold")
        for name, value in rows:  # No table: that cuts a path which is wider than the terminal.
            console.print(f"{name:{width}}  {value}")
        if next_command:
            console.print(Text.assemble("next: ", (printable(next_command), "bold")))
    sys.stderr.flush()


def figures(title: str, columns: Iterable[str]) -> Table:
    """Return a table to be filled: names on the left, figures on the right; a narrow terminal folds them and cuts none.

    Args:
        title: heading of the table; may be empty.
        columns: their names.
    """
    table = Table(title=title or None, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    for k, column in enumerate(columns):
        table.add_column(printable(column), justify="right" if k else "left", overflow="fold")
    return table


class AnswerProgress:
    """Counts the answers of an arm. A context manager: enter it before the first answer, leave it after the last."""

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
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
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
        """Return the progress in one line."""
        seconds = time.monotonic() - self._started
        rate = f", {self._tokens / max(seconds, 1e-6):,.0f} tokens/s" if self._tokens else ""
        return f"{self._name}: {self._done}/{self._total} {self._what} in {duration(seconds)}{rate}"
