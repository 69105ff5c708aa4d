"""Rounds side by side: a table for a terminal, and one self-contained HTML page."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from selfinstruct.formats import jsonl
from selfinstruct.report import environment
from selfinstruct.run.directory import RoundsDirectory
from selfinstruct.run.rounds_record import Gain, HeldOut, Rounds
from selfinstruct.text import number
from tuning.evaluation.questions import UNSEEN_SET

if TYPE_CHECKING:
    from rich.console import RenderableType


def write_report(output: RoundsDirectory, rounds: Rounds) -> Path:
    """Write `report.html` beside the rounds; the same record gives the same bytes.

    Args:
        output: the directory of the rounds.
        rounds: what `rounds.json` holds.
    """
    jsonl.write_text(output.report, render(output, rounds))
    return output.report


def render(output: RoundsDirectory, rounds: Rounds) -> str:
    """The page."""
    page = environment().get_template("rounds.html")
    best = output.round(rounds.best).model.path if rounds.best else None
    return (
        page.render(
            name=output.path.resolve().name,
            rounds=rounds,
            sets=_sets(rounds),
            yardstick=UNSEEN_SET,
            serve=f"vllm serve {shlex.quote(str(best))}" if best else "",
        ).strip()
        + "\n"
    )


def table(rounds: Rounds) -> RenderableType:
    """The rounds for a terminal."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    shown = Table(box=None, padding=(0, 2, 0, 0))
    sets = _sets(rounds)
    for column in ("round", "instructions", "training rows", UNSEEN_SET, "gain", *sets):
        shown.add_column(escape(column), justify="left" if column == "round" else "right")
    for row in rounds.rounds:
        mark = " (best)" if row.run == rounds.best else ""
        shown.add_row(
            f"{row.run}{mark}",
            f"{number(row.instructions)} ({number(row.new_instructions)} new)",
            number(row.train_rows),
            escape(_held_out(row.held_out)),
            escape(_gain(row.gain)),
            *(number(row.scores[name].rouge_l if name in row.scores else None, 1) for name in sets),
        )
    said = [escape(text) for text in (rounds.ended and f"ended: {rounds.ended}", rounds.verdict) if text]
    return Group(shown, "", *said)


def _sets(rounds: Rounds) -> list[str]:
    """Sets of tasks that are the same in every round."""
    return list(dict.fromkeys(name for row in rounds.rounds for name in row.scores if not _grows(name)))


def _grows(name: str) -> bool:
    return name.startswith("validation_")


def _held_out(held_out: HeldOut | None) -> str:
    if held_out is None:
        return "-"
    low, high = held_out.interval
    return f"{number(held_out.rouge_l, 1)} [{number(low, 1)}, {number(high, 1)}]"


def _gain(gain: Gain | None) -> str:
    if gain is None:
        return "-"
    points = f"{number(gain.difference, 1, sign=True)} [{number(gain.low, 1)}, {number(gain.high, 1)}]"
    return points if gain.significant else f"{points}, not shown"
