"""A share of classification tasks far from that of the seeds: then the answers are not to be believed."""

from __future__ import annotations

from selfinstruct.run.state import RunState

_LEAST = 30
"""Fewest classified instructions from which a share says something."""
_FAR = 4.0
"""Odds that differ by this factor are far apart. The paper has 22 % where its seeds have 14 %: a factor of 1.7."""


def odd_share(state: RunState, share: float | None = None) -> str:
    """Return, as a sentence, that few or many instructions were called classification tasks; empty if it is ordinary.

    Args:
        state: the run.
        share: share of classification tasks among the seeds; None: as the journal's header has it, if it does.
    """
    if share is None and "classification" in state.header.calibration:
        share = state.header.calibration["classification"].share
    known, yes = len(state.is_classification), sum(state.is_classification.values())
    if not share or share == 1 or known < _LEAST:
        return ""
    odds = (yes + 0.5) / (known - yes + 0.5)  # Half a task on each side keeps the odds of none and of all finite.
    factor = odds / (share / (1 - share))
    if 1 / _FAR < factor < _FAR:
        return ""
    return (
        f"{yes:,} of {known:,} instructions were called classification tasks; {share:.0%} of the seeds are "
        "(docs/method.md, Is it a task?)"
    )
