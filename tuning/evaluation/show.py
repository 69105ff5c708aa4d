"""What a person sees of an evaluation, on stderr: a bar per arm (else a line per interval), then tables of scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from selfinstruct.console import console
from tuning.evaluation.tables import Table as Measures
from tuning.evaluation.tables import tables


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
