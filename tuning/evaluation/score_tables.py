"""Show scores on stderr: a table for each set of tasks, the differences, what else was measured, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from selfinstruct.console import console, figures, result
from selfinstruct.run.scores import Comparison, Interval, Scores, SetScores
from tuning.evaluation import tables


def show_scores(scores: Scores) -> None:
    """Print the scores, which are what an evaluation ends with."""
    with result():
        _show(scores)


def _show(scores: Scores) -> None:
    for name in scores.sets():
        console.print(_set(name, {arm: about.sets[name] for arm, about in scores.arms.items() if name in about.sets}))
        for comparison in scores.comparisons:
            if comparison.set == name and comparison.metric == "rouge_l":
                console.print(_difference(comparison), markup=False)
    for table in tables.tables(scores, str):
        if table.title != "Format errors":  # The tables above show some of them, the report shows all.
            console.print(_measures(table))
    if scores.headline:
        console.print(f"\n{scores.headline}", style="bold", markup=False)
    console.print(f"{'' if scores.headline else chr(10)}{scores.verdict}", markup=False)


def _difference(comparison: Comparison) -> str:
    low, high = comparison.low, comparison.high
    note = ""
    if not comparison.significant:
        note = "  too few tasks to say" if low > 0 or high < 0 else "  no significant difference"
    points = f"{comparison.difference:+z.1f} [{low:z.1f}, {high:z.1f}]"
    return f"  {comparison.a} - {comparison.b}: {points} ROUGE-L{note}"


def _measures(measures: tables.Table) -> Table:
    table = figures(measures.title, measures.columns)
    for row in measures.rows:
        table.add_row(*row)
    return table


def _set(name: str, by_arm: Mapping[str, SetScores]) -> Table:
    first = next(iter(by_arm.values()))
    title = f"{name}: {first.n} questions of {first.n_tasks} tasks"
    table = figures(title, ("arm", "ROUGE-L", "exact match", "ends", "empty", "loss"))
    for arm, about in by_arm.items():
        table.add_row(
            arm,
            _number(about.rouge_l, about.rouge_l_interval),
            _number(about.exact_match, about.exact_match_interval),
            _share(about.stopped),
            _share(about.empty),
            f"{about.loss:.3f}" if isinstance(about.loss, float) else "-",
        )
    return table


def _number(value: float | None, interval: Interval | None) -> str:
    if value is None or interval is None:
        return "-"
    return f"{value:z.1f} [{interval[0]:z.1f}, {interval[1]:z.1f}]"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
