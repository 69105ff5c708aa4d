"""What `selfinstruct refilter` did: the counts, and their text for a person."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfinstruct.generation.score_bounds import REASON_OF

NOT_THE_SAME = (
    "This is not the run that these filters would have produced: filtering depends on the order, and the prompts drew "
    "on the recorded pool."
)


@dataclass(frozen=True, slots=True)
class CandidateMoves:
    """Candidates by what the recorded and the new filters decided.

    total = stayed + entered + left + stayed_out = accepted + rejected; accepted = stayed + entered; accepted_before =
    stayed + left.

    Attributes:
        total: all candidates.
        accepted_before: accepted by the recorded run.
        accepted: accepted now.
        rejected: rejected now.
        stayed: accepted before and now.
        entered: accepted only now.
        left: accepted only before.
        stayed_out: rejected before and now.
        reasons: the rejected ones by reason, the most frequent first.
    """

    total: int
    accepted_before: int
    accepted: int
    rejected: int
    stayed: int
    entered: int
    left: int
    stayed_out: int
    reasons: dict[str, int]


@dataclass(frozen=True, slots=True)
class InstanceMoves:
    """Kept instances before and now: before - lost - dropped + gained = kept.

    Attributes:
        before: kept in the recorded run.
        lost: lost together with their instruction.
        dropped: rejected only now.
        gained: rejected only before.
        kept: kept now.
        reasons: the rejected ones by reason, the most frequent first.
        warnings: the kept ones to which a filter objects that only warns, by reason.
    """

    before: int
    lost: int
    dropped: int
    gained: int
    kept: int
    reasons: dict[str, int]
    warnings: dict[str, int]


@dataclass(frozen=True, slots=True)
class FollowUps:
    """Numbers of follow-up requests by kind."""

    classification: int
    instances: int
    answer: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.classification + self.instances + self.answer


@dataclass(frozen=True, slots=True)
class RefilterResult:
    """What `refilter` did.

    Attributes:
        run: the recorded run.
        output: the new run.
        filters: the options of filters, scores and `answer.keep` that differ, by name: (recorded, now).
        candidates: what became of the candidates.
        instances: what became of the instances.
        answers_left_out: answered requests about instructions that are no longer accepted.
        pending: requests that `generate` would make on the new run.
        target: the new run's target.
        stops_left_out: stops that the new decisions do not lead to.
        scorer: whose scores decided; empty if nobody's.
        bounds: what its scores had to reach, by option: (as it was given, as a score).
    """

    run: Path
    output: Path
    filters: dict[str, tuple[Any, Any]]
    candidates: CandidateMoves
    instances: InstanceMoves
    answers_left_out: FollowUps
    pending: FollowUps
    target: int
    stops_left_out: int
    scorer: str = ""
    bounds: dict[str, tuple[str, float]] = field(default_factory=dict)


# -------------------------------------------------------------------------------------------------- render


def render(result: RefilterResult) -> str:
    """Return the result as text for a person."""
    candidates, instances = result.candidates, result.instances
    changed = ", ".join(f"{name} {_value(old)} -> {_value(new)}" for name, (old, new) in result.filters.items())
    reasons = ", ".join(f"{reason} {n:,}" for reason, n in candidates.reasons.items()) or "nothing"
    moves = f"{candidates.stayed:,} stayed, {candidates.left:,} left, {candidates.entered:,} entered"
    instance_moves = f"{instances.lost:,} lost with their instruction, {instances.dropped:,} dropped"
    text = [
        f"filters: {changed or 'as recorded'}",
        f"candidates: {candidates.total:,}",
        f"accepted: {candidates.accepted:,} (before {candidates.accepted_before:,}: {moves})",
        f"rejected: {candidates.rejected:,} ({reasons})",
        f"instances: {instances.kept:,} (before {instances.before:,}: {instance_moves}, {instances.gained:,} gained)",
    ]
    for title, named in (("rejected instances", instances.reasons), ("kept with a warning", instances.warnings)):
        if named:
            text.append(f"{title}: {', '.join(f'{reason} {n:,}' for reason, n in named.items())}")
    text += [_bound(result, name, *bound) for name, bound in result.bounds.items()]
    if pending := result.pending.total:
        has, is_ = ("instruction has", "is") if pending == 1 else ("instructions have", "are")
        text.append(
            f"pending: {pending:,} {has} no instances yet and {is_} left out of exports; "
            f"`selfinstruct generate --output-dir {result.output}` generates them"
        )
    if result.stops_left_out:
        text.append("the recorded stop for saturation is left out: these filters accept more")
    return "\n".join([*text, NOT_THE_SAME])


def _value(value: Any) -> str:
    return "(not set)" if value is None else str(value)


def _bound(result: RefilterResult, name: str, bound: str, score: float) -> str:
    """Return which score a bound means. A share alone shows neither the score nor why no input is below it."""
    said = f"{name} {bound} of the scores by {result.scorer}: {score:g}"
    if REASON_OF[name] in result.instances.reasons:
        return said
    why = ": a share takes whole inputs, and those of one score together" if bound.endswith("%") else ""
    return f"{said}, and it removes no input{why}"
