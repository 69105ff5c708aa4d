"""Rounds side by side: a table for a terminal, and one self-contained HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from selfinstruct.engines.serving import serve_command
from selfinstruct.formats import jsonl
from selfinstruct.records import UNSEEN
from selfinstruct.report.page import environment
from selfinstruct.run.directory import RoundsDirectory
from selfinstruct.run.rounds_record import Gain, HeldOut, Round, Rounds
from selfinstruct.text import number
from tuning.evaluation.questions import GENERATED_SETS

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
    """Return the page."""
    page = environment().get_template("rounds.html")
    best = output.round(rounds.best).model.path if rounds.best else None
    return (
        page.render(
            name=output.path.resolve().name,
            rounds=rounds,
            sets=_sets(rounds),
            generator=lambda result: _generator(result, rounds),
            held_out_set=UNSEEN,
            serve=serve_command(best) if best else "",
        ).strip()
        + "\n"
    )


def table(rounds: Rounds) -> RenderableType:
    """Return the rounds for a terminal."""
    from rich.console import Group
    from rich.markup import escape

    from selfinstruct.console import figures

    sets = _sets(rounds)
    made = figures("", [escape(name) for name in ("round", "instructions", "training rows", UNSEEN, "gain", *sets)])
    for result in rounds.rounds:
        mark = " (best)" if result.run == rounds.best else ""
        means = [result.scores.get(name) for name in sets]
        made.add_row(
            escape(f"{result.run}{mark}"),
            f"{number(result.instructions)} ({number(result.new_instructions)} new)",
            number(result.train_rows),
            escape(_held_out(result.held_out)),
            escape(_gain(result.gain)),
            *(number(mean and mean.rouge_l, 1) for mean in means),
        )
    closing = [escape(text) for text in (rounds.ended and f"ended: {rounds.ended}", rounds.verdict) if text]
    return Group(made, "", *closing)


def _sets(rounds: Rounds) -> list[str]:
    """Return the sets of tasks that are the same in every round."""
    names = dict.fromkeys(name for result in rounds.rounds for name in result.scores)
    return [name for name in names if name not in GENERATED_SETS]


def _generator(result: Round, rounds: Rounds) -> str:
    """Return the name of a round's generator; a model tuned in a round is named by that: its path is long."""
    run = Path(result.generator).parent.name
    return f"tuned in {run}" if run in {one.run for one in rounds.rounds} else result.generator


def _held_out(held_out: HeldOut | None) -> str:
    if held_out is None:
        return "-"
    low, high = held_out.interval
    return f"{number(held_out.rouge_l, 1)} [{number(low, 1)}, {number(high, 1)}]"


def _gain(gain: Gain | None) -> str:
    if gain is None:
        return "-"
    points = f"{number(gain.difference, 1, sign=True)} [{number(gain.low, 1)}, {number(gain.high, 1)}]"
    return points if gain.significant else f"{points}, not significant"
