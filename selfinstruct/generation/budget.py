"""Budgets and the deadline while a run goes: may more be proposed, must it stop, must it leave?

What has been accepted is owed its classification and its instances. So a budget counts what is spent, what is owed and
what the proposals under way will cost, and the deadline counts the time that what is owed will take. Both estimates
come from the run itself and become exact as it ends. Decisions become control lines; none is made again in replay.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from selfinstruct import clock as deadlines
from selfinstruct.clock import Clock, Reserve
from selfinstruct.config.schema import Config
from selfinstruct.run.journal import Line
from selfinstruct.run.state import RunState

_CLOSING_S = 2.0
"""For the last fsync and the engine's end."""
_LATENCIES = 64
"""Latest answers looked at for how long one takes."""
_FOLLOW_UPS = ("classification", "instances")


@dataclass(frozen=True)
class Cost:
    """What requests take of each budget."""

    requests: float
    tokens: float

    def of(self, budget: str) -> float:
        """The part that counts against a budget, by the option's name."""
        return self.requests if budget == "max_requests" else self.tokens


class Limits:
    """The limits of one call of `generate`.

    Args:
        config: budgets, and what to assume of answers before there are any.
        state: the run, brought up to date by others.
        clock: tells the time.
        finish_by: the deadline in Unix seconds, or None.
        reserve: time to leave before it.
    """

    def __init__(
        self,
        config: Config,
        state: RunState,
        clock: Clock,
        finish_by: float | None = None,
        reserve: Reserve | None = None,
    ) -> None:
        self._config = config
        self._state = state
        self.clock = clock
        self.finish_by = finish_by
        self._reserve = reserve or Reserve()
        self._engine_start_s = 0.0
        self._began = clock()
        self._tokens_before = state.completion_tokens
        self._latencies: dict[str, deque[float]] = {}

    def engine_started(self, seconds: float) -> None:
        """Take note of how long the engine took to start; rates are measured from now on."""
        self._engine_start_s = seconds
        self._began, self._tokens_before = self.clock(), self._state.completion_tokens

    def measured(self) -> dict[str, float]:
        """Of this call: seconds that the engine took to start, and completion tokens per second since."""
        return {"engine_start_s": round(self._engine_start_s, 1), "tokens_per_s": round(self._tokens_per_s(), 1)}

    def answered(self, kind: str, seconds: float) -> None:
        """Take note of how long an answer took."""
        self._latencies.setdefault(kind, deque(maxlen=_LATENCIES)).append(seconds)

    # ----------------------------------------------------------------------------------------------- decisions

    def allow_proposal(self, under_way: int) -> bool:
        """Whether the budgets allow one more beside `under_way` proposals that are not committed yet."""
        return self._exhausted(under_way) is None

    def stop(self, *, idle: bool) -> Line | None:
        """The control line that ends proposing now, or None.

        Args:
            idle: nothing is under way. Until then a budget only holds proposals back: what is under way is paid for,
                and what it brings may turn out cheaper than expected.
        """
        if self.finish_by is not None and self.clock() + self._drain_s() >= self._cutoff(self._instances_expected()):
            return self._control("deadline", finish_by=deadlines.iso(self.finish_by))
        budget = self._exhausted(0) if idle else None
        if budget is None:
            return None
        return self._control("budget", limit=budget, value=self._budget(budget), used=self._spent().of(budget))

    def overdue(self) -> bool:
        """Whether even what was accepted cannot be waited for any longer."""
        return self.finish_by is not None and self.clock() >= self._cutoff(self._state.num_instances)

    def seconds_left(self) -> float | None:
        """Until `overdue`; None without a deadline."""
        return None if self.finish_by is None else self._cutoff(self._state.num_instances) - self.clock()

    # ----------------------------------------------------------------------------------------------- estimates

    def _exhausted(self, under_way: int) -> str | None:
        """The budget that is used up by what is spent, owed and under way."""
        given = [name for name in ("max_requests", "max_tokens_total") if self._budget(name) is not None]
        if not given:
            return None
        spent, owed, each = self._spent(), self._owed(), self._proposal()
        for name in given:
            if spent.of(name) + owed.of(name) + under_way * each.of(name) >= (self._budget(name) or 0):
                return name
        return None

    def _budget(self, name: str) -> int | None:
        value: int | None = getattr(self._config.limits, name)
        return value

    def _spent(self) -> Cost:
        return Cost(sum(self._state.requests.values()), self._state.completion_tokens)

    def _owed(self) -> Cost:
        """Follow-ups of what was accepted."""
        state = self._state
        unclassified = len(state.pool) - len(state.is_classification) - len(state.classification_failed)
        unwritten = len(state.is_classification) - len(state.instances)
        tokens = unclassified * self._mean_tokens("classification")
        tokens += (unclassified + unwritten) * self._mean_tokens("instances")
        return Cost(2 * unclassified + unwritten, tokens)

    def _proposal(self) -> Cost:
        """One proposal, with the follow-ups of what it is likely to bring."""
        state = self._state
        accepted = len(state.pool) / state.proposals if state.proposals else self._config.proposal.num_new
        follow_up = self._mean_tokens("classification") + self._mean_tokens("instances")
        return Cost(1 + 2 * accepted, self._mean_tokens("proposal") + accepted * follow_up)

    def _mean_tokens(self, kind: str) -> float:
        state = self._state
        answers = state.requests[kind, "committed"] + state.requests[kind, "failed"]
        if answers:
            return state.tokens_of[kind] / answers
        longest: int = getattr(self._config, kind).max_tokens
        return float(longest)

    def _tokens_per_s(self) -> float:
        seconds = self.clock() - self._began
        return (self._state.completion_tokens - self._tokens_before) / seconds if seconds > 0 else 0.0

    def _drain_s(self) -> float:
        """Seconds that the follow-ups of what was accepted will take.

        They go first, so that the engine has most of them already; each instruction needs two answers after one
        another, and on the way out they take no longer than they did beside proposals.
        """
        owed = self._owed().requests
        if not owed:
            return _CLOSING_S
        in_turn = sum(max(self._latencies.get(kind, self._latencies.get("proposal", [0.0]))) for kind in _FOLLOW_UPS)
        return deadlines.SAFETY_FACTOR * in_turn * max(1.0, owed / 2 / self._config.max_in_flight) + _CLOSING_S

    def _instances_expected(self) -> float:
        """Instances at the end, when what was accepted has had its turn."""
        state = self._state
        each = state.num_instances / len(state.instances) if state.instances else 1.0
        return state.num_instances + each * (len(state.pool) - len(state.instances) - len(state.classification_failed))

    def _cutoff(self, instances: float) -> float:
        """The moment at which generation must be over."""
        assert self.finish_by is not None
        return self.finish_by - self._reserve.after(instances, self._engine_start_s, self._tokens_per_s())

    def _control(self, event: str, **values: object) -> Line:
        return {"kind": "control", "event": event, "after_proposal": self._state.proposals - 1, **values}
