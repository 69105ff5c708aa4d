"""The lines of a journal that are not the outcome of a request, one type for each event."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Cause = Literal["acceptance", "degenerate"]
"""Why a run is saturated: too few candidates accepted, or too many degenerate completions."""
BudgetName = Literal["max_requests", "max_tokens_total"]
"""The name of the option that sets a budget."""


class Control(Struct, frozen=True, tag_field="event", gc=False):
    """A line that is not the outcome of a request. It follows proposal `after_proposal`; -1: before the first."""

    after_proposal: int


class TargetRaised(Control, frozen=True, tag="target_raised"):
    """The target was raised to `num_instructions` in total."""

    num_instructions: int


class Resumed(Control, frozen=True, tag="resumed"):
    """The stop that was in force has ended."""


class Interruption(Control, frozen=True, tag="interrupted"):
    """A signal ended the program. It changes nothing in the state, and the next start continues."""

    signal: str


class Saturated(Control, frozen=True, tag="saturated"):
    """The last `window` proposals gave almost no new instructions.

    Attributes:
        cause: too few candidates accepted, or too many degenerate completions.
        window: number of proposals that were examined.
        window_candidates: number of their candidates.
        window_accepted: number of their accepted candidates.
        window_empty: number of their completions without a candidate.
        window_repeated: number of their completions that repeat themselves or an earlier one.
        window_truncated: number of their completions that were cut and gave no accepted candidate.
    """

    cause: Cause
    window: int
    window_candidates: int
    window_accepted: int
    window_empty: int
    window_repeated: int
    window_truncated: int


class BudgetUsedUp(Control, frozen=True, tag="budget"):
    """A budget is used up: `limit` names the option, `value` is its value, and `used` is the amount used."""

    limit: BudgetName
    value: int
    used: int


class DeadlineReached(Control, frozen=True, tag="deadline"):
    """The time left until the deadline `finish_by` (ISO 8601) is needed to finish the accepted instructions."""

    finish_by: str


Stop = Saturated | BudgetUsedUp | DeadlineReached
"""A line after which no request for proposals is made until a `Resumed` line."""
ControlLine = TargetRaised | Resumed | Interruption | Stop
