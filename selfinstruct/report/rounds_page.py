"""Rounds side by side: a table for a terminal, and one self-contained HTML page."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfinstruct.formats import jsonl
from selfinstruct.report import environment
from selfinstruct.text import number
from tuning.evaluation.questions import UNSEEN_SET

if TYPE_CHECKING:
    from rich.console import RenderableType


def write_report(output: Path, found: dict[str, Any]) -> Path:
    """Write `report.html` beside the rounds; the same record gives the same bytes.

    Args:
        output: the directory of the rounds.
        found: what `rounds.json` holds.
    """
    path = output / "report.html"
    jsonl.write_text(path, render(output, found))
    return path


def render(output: Path, found: dict[str, Any]) -> str:
    """The page."""
    page = environment().get_template("rounds.html")
    best = output / found["best"] / "model" if found["best"] else None
    return (
        page.render(
            name=output.resolve().name,
            found=found,
            sets=_sets(found),
            yardstick=UNSEEN_SET,
            serve=f"vllm serve {shlex.quote(str(best))}" if best else "",
        ).strip()
        + "\n"
    )


def table(found: dict[str, Any]) -> RenderableType:
    """The rounds for a terminal."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    shown = Table(box=None, padding=(0, 2, 0, 0))
    sets = _sets(found)
    for column in ("round", "instructions", "training rows", UNSEEN_SET, "gain", *sets):
        shown.add_column(escape(column), justify="left" if column == "round" else "right")
    for row in found["rounds"]:
        mark = " (best)" if row["run"] == found["best"] else ""
        shown.add_row(
            f"{row['run']}{mark}",
            f"{number(row['instructions'])} ({number(row['new_instructions'])} new)",
            number(row["train_rows"]),
            escape(_held_out(row["held_out"])),
            escape(_gain(row["gain"])),
            *(number(row["scores"].get(name, {}).get("rouge_l"), 1) for name in sets),
        )
    said = [escape(text) for text in (found["ended"] and f"ended: {found['ended']}", found["verdict"]) if text]
    return Group(shown, "", *said)


def _sets(found: dict[str, Any]) -> list[str]:
    """Sets of tasks that are the same in every round."""
    return list(dict.fromkeys(name for row in found["rounds"] for name in row["scores"] if not _grows(name)))


def _grows(name: str) -> bool:
    return name.startswith("validation_")


def _held_out(about: dict[str, Any] | None) -> str:
    if about is None:
        return "-"
    low, high = about["interval"]
    return f"{number(about['rouge_l'], 1)} [{number(low, 1)}, {number(high, 1)}]"


def _gain(about: dict[str, Any] | None) -> str:
    if about is None:
        return "-"
    points = f"{number(about['difference'], 1, sign=True)} [{number(about['low'], 1)}, {number(about['high'], 1)}]"
    return points if about["shown"] else f"{points}, not shown"
