"""What each proposer has earned: rows kept, for the tokens that its proposals and their follow-ups took.

Proposal n may be made by what earlier proposals earned only once all follow-ups of these are answered: until then the
figures depend on which answer came first. So the weights are a function of the journal's proposals, whatever the
latencies and wherever a run was interrupted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from selfinstruct.run.state import RunState


@dataclass(frozen=True, slots=True)
class Earned:
    """Rows kept, and completion tokens spent on them."""

    rows: int = 0
    tokens: int = 0


class Earnings:
    """Adds up what the proposers of a run earned, from its first proposal on.

    Args:
        state: of the run; it may go on meanwhile.
    """

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._settled = 0  # Instructions of the pool, from the first, whose follow-ups are all answered.
        self._counted = 0  # Proposals that are in the sums.
        self._instructions = 0  # Their instructions.
        self._rows: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()

    def are_settled(self, n: int) -> bool:
        """Return whether all follow-ups of the proposals up to n are answered; n may be negative."""
        state = self._state
        while self._settled < len(state.pool) and state.is_settled(state.pool[self._settled].id):
            self._settled += 1
        return n < 0 or state.pool_after[n] <= self._settled

    def up_to(self, n: int) -> dict[str, Earned]:
        """Return what the proposals up to n earned, by proposer; they are settled, and no later ones were asked for."""
        state = self._state
        for k in range(self._counted, n + 1):
            name = state.proposed_by[k]
            self._tokens[name] += state.tokens_spent[k]
            for instruction in state.pool[self._instructions : state.pool_after[k]]:
                self._rows[name] += len(state.instances.get(instruction.id, ()))
            self._instructions = state.pool_after[k]
        self._counted = max(self._counted, n + 1)
        return {name: Earned(self._rows[name], self._tokens[name]) for name in self._tokens}
