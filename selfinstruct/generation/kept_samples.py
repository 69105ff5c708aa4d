"""Which of several answers to one question are kept.

The filters of rows decide about each answer by itself, and `answer.keep` chooses among those that they let through. All
others stay in the journal as rejected candidates, so that `refilter` can choose again.

    >>> [c.accepted for c in choose(decided, "first")]
    [True, False, False]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from selfinstruct.config.schema import Keep
from selfinstruct.generation import score_bounds
from selfinstruct.generation.score_bounds import ScoreBounds
from selfinstruct.run.lines import InstanceCandidate

_NOT_CHOSEN = "not_chosen"


def choose(
    decided: Sequence[InstanceCandidate],
    keep: Keep,
    scores: Sequence[float | None] = (),
    bounds: ScoreBounds | None = None,
) -> tuple[InstanceCandidate, ...]:
    """Decide which answers to one question are kept.

    Args:
        decided: the answers in order, accepted where the filters of rows let them through.
        keep: the `first` of these, the `best` by its score (the first where none has one), or `all` that differ.
        scores: of the answers; empty if there are none.
        bounds: what the scores must reach.
    """
    accepted = [position for position, candidate in enumerate(decided) if candidate.accepted]
    known = {position: value for position in accepted if scores and (value := scores[position]) is not None}
    if bounds is not None and known and (objection := bounds.objection(list(known.values()))):
        return tuple(
            _rejected(candidate, objection.reason, objection.evidence) if candidate.accepted else candidate
            for candidate in decided
        )
    if len(accepted) < 2:
        return tuple(decided)
    if keep == "all":
        first: dict[str, int] = {}
        for position in accepted:
            first.setdefault(decided[position].output, position)
        return tuple(
            _rejected(candidate, "duplicate_instance", {"first": first[candidate.output]})
            if candidate.accepted and first[candidate.output] != position
            else candidate
            for position, candidate in enumerate(decided)
        )
    chosen = max(known, key=known.__getitem__) if keep == "best" and known else accepted[0]
    return tuple(
        _rejected(candidate, _NOT_CHOSEN, {"chosen": chosen})
        if candidate.accepted and position != chosen
        else candidate
        for position, candidate in enumerate(decided)
    )


def passed(candidate: InstanceCandidate) -> bool:
    """Return whether an answer passes the filters of rows, whether or not it was kept."""
    return candidate.accepted or candidate.reason == _NOT_CHOSEN or candidate.reason in score_bounds.REASONS


def _rejected(candidate: InstanceCandidate, reason: str, evidence: dict[str, Any]) -> InstanceCandidate:
    return msgspec.structs.replace(candidate, accepted=False, reason=reason, evidence=evidence, warnings={})
