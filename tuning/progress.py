"""What a person sees of an evaluation, on stderr: a bar per arm (else a line per interval), then tables of scores."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from selfinstruct.progress import console, duration
from selfinstruct.report.measures import Table as Measures
from selfinstruct.report.measures import tables

_INTERVAL_S = 10.0


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
        """One more answer is there, of so many tokens."""
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


def show_scores(scores: Mapping[str, Any]) -> None:
    """A table for each set of tasks, the differences, whatever else was measured, and the verdict."""
    arms = scores["arms"]
    for name in dict.fromkeys(name for arm in arms.values() for name in arm["sets"]):
        console.print(_table(name, {arm: about["sets"][name] for arm, about in arms.items() if name in about["sets"]}))
        for found in scores["comparisons"]:
            if found["set"] == name and found["metric"] == "rouge_l":
                apart = found["low"] > 0 or found["high"] < 0
                shown = "" if found["shown"] else "  too few tasks to say" if apart else "  no difference shown"
                points = f"{found['difference']:+.1f} [{found['low']:.1f}, {found['high']:.1f}]"
                console.print(f"  {found['a']} - {found['b']}: {points} ROUGE-L{shown}", markup=False)
    for table in tables(scores, str):
        if table.title != "Format errors":  # There is some of it in the tables above, the rest is in the report.
            console.print(_measures(table))
    console.print(f"\n{scores['verdict']}", markup=False)


def _measures(found: Measures) -> Table:
    table = Table(title=found.title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    for k, column in enumerate(found.columns):
        table.add_column(column, justify="right" if k else "left")
    for row in found.rows:
        table.add_row(*map(escape, row))
    return table


def _table(name: str, by_arm: Mapping[str, Mapping[str, Any]]) -> Table:
    some = next(iter(by_arm.values()))
    title = f"{name}: {some['n']} questions of {some['n_tasks']} tasks"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    table.add_column("arm")
    for column in ("ROUGE-L", "exact match", "ends", "empty", "loss"):
        table.add_column(column, justify="right")
    for arm, about in by_arm.items():
        table.add_row(
            arm,
            _number(about["rouge_l"], about["rouge_l_interval"]),
            _number(about["exact_match"], about["exact_match_interval"]),
            _share(about["stopped"]),
            _share(about["empty"]),
            "-" if about.get("loss") is None else f"{about['loss']:.3f}",
        )
    return table


def _number(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None or interval is None:
        return "-"
    return f"{value:.1f} \\[{interval[0]:.1f}, {interval[1]:.1f}]"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
