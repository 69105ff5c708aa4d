"""The table that closes the whole chain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from selfinstruct.console import closing_table
from selfinstruct.engines.serving import serve_command
from selfinstruct.generation import stop_rules
from selfinstruct.run.directory import RunDirectory
from selfinstruct.text import duration


def show_summary(run: RunDirectory, seconds: float, cut: Sequence[str]) -> None:
    """Print what was made, and what to do with it.

    Args:
        run: the run.
        seconds: that this call took.
        cut: what a deadline left out, in sentences.
    """
    state = run.state()
    why = stop_rules.reason(run, state)
    scores = run.evaluation.scores_path
    rows: list[tuple[str, Any]] = [
        *([("stopped early", why)] if why else []),
        *(("cut", sentence) for sentence in cut),
        ("accepted", f"{len(state.pool)} instructions, {state.num_instances} instances"),
        ("dataset", run.dataset.path),
        ("model", run.model.path),
        *([("scores", scores)] if scores.exists() else []),
        ("report", run.report),
        ("time", duration(seconds)),
    ]
    # The card of an adapter says how it is served.
    following = f"selfinstruct chat {run.path}" if run.model.is_adapter else serve_command(run.model.path)
    title = f"{run.path} is complete" + (", but generation stopped before its target" if why else "")
    closing_table(title, rows, following)
