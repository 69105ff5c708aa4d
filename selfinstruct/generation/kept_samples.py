"""Which of several answers to one question are kept.

The filters of rows decide about each answer by itself, and `answer.keep` chooses among those that they let through. All
others stay in the journal as rejected candidates, so that `refilter` can choose again.

    >>> [c.accepted for c in choose(decided, "first")]
    [True, False, False]
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from selfinstruct.config.schema import Keep
from selfinstruct.run.lines import InstanceCandidate


def choose(decided: Sequence[InstanceCandidate], keep: Keep) -> tuple[InstanceCandidate, ...]:
    """Decide which answers to one question are kept.

    Args:
        decided: the answers in order, accepted where the filters of rows let them through.
        keep: the `first` of these, or `all` that differ.
    """
    found = [position for position, candidate in enumerate(decided) if candidate.accepted]
    if len(found) < 2:
        return tuple(decided)
    if keep == "all":
        first: dict[str, int] = {}
        for position in found:
            first.setdefault(decided[position].output, position)
        return tuple(
            _rejected(candidate, "duplicate_instance", {"first": first[candidate.output]})
            if candidate.accepted and first[candidate.output] != position
            else candidate
            for position, candidate in enumerate(decided)
        )
    chosen = found[0]
    return tuple(
        _rejected(candidate, "not_chosen", {"chosen": chosen})
        if candidate.accepted and position != chosen
        else candidate
        for position, candidate in enumerate(decided)
    )


def _rejected(candidate: InstanceCandidate, reason: str, evidence: dict[str, int]) -> InstanceCandidate:
    return msgspec.structs.replace(candidate, accepted=False, reason=reason, evidence=evidence, warnings={})
