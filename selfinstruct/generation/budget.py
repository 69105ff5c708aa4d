"""Budgets and the deadline while a run works: whether to propose more, to stop proposing, or to leave now.

Every accepted instruction still needs its classification and its instances, and where inputs are answered separately
each input its answer: they are owed. So a budget counts what is
spent, what is owed and what the proposals in flight will cost. The deadline counts the time for what is owed. Both
estimates come from the run itself and become exact as it ends. Decisions become control lines; replay makes none again.

Short answers arrive first. So the mean length counts what the requests in flight have written already, as far as their
time tells: the estimate of an exponential distribution's mean from observations that are not over yet.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from dataclasses import dataclass

from selfinstruct import clock as deadlines
from selfinstruct.clock import Clock, Reserve
from selfinstruct.config.stopping import Limits
from selfinstruct.generation import stop_rules
from selfinstruct.generation.method import Method
from selfinstruct.run.control_lines import BudgetName, BudgetUsedUp, DeadlineReached
from selfinstruct.run.state import RunState

_CLOSING_S = 2.0
"""For the last fsync and the engine's end."""
_LATENCIES = 64
"""Latest answers looked at for how long one takes."""
_BUDGETS: tuple[BudgetName, ...] = ("max_requests", "max_tokens_total")


@dataclass(frozen=True)
class Cost:
    """What requests cost of each budget."""

    requests: float
    tokens: float

    def of(self, budget: BudgetName) -> float:
        """Return the part that counts against a budget."""
        return self.requests if budget == "max_requests" else self.tokens


class BudgetTracker:
    """Budgets and deadline of one call of `generate`.

    Args:
        limits: the budgets.
        method: what to assume of answers before there are any.
        state: the run; updated by others.
        clock: returns the time in Unix seconds.
        finish_by: the deadline in Unix seconds, or None.
        reserve: time to leave before it.

    Attributes:
        max_in_flight: requests given to the engine at once; known once it has started.
    """

    def __init__(
        self,
        limits: Limits,
        method: Method,
        state: RunState,
        clock: Clock,
        finish_by: float | None = None,
        reserve: Reserve | None = None,
    ) -> None:
        self._limits = limits
        self._method = method
        self.max_in_flight = 1
        self._state = state
        self.clock = clock
        self.finish_by = finish_by
        self._reserve = reserve or Reserve()
        self._engine_start_s = 0.0
        self._began = clock()
        self._tokens_before = state.completion_tokens
        self._tokens_before_by_kind = {kind: usage.completion_tokens for kind, usage in state.usage.items()}
        self._latencies: dict[str, deque[float]] = {}
        self._answer_seconds: defaultdict[str, float] = defaultdict(float)
        self._in_flight = Counter[str]()
        self._asked_at: defaultdict[str, float] = defaultdict(float)

    @property
    def _separate(self) -> bool:
        """Whether inputs are answered separately; the style of prompting, in the header, may decide it."""
        return self._method.answers_separately(self._state.header.resolved.get("style", "completion"))

    def engine_started(self, seconds: float, max_in_flight: int) -> None:
        """Record how many seconds the engine took to start, and how much it is given; measure rates from now on."""
        self.max_in_flight = max_in_flight
        self._engine_start_s = seconds
        self._began, self._tokens_before = self.clock(), self._state.completion_tokens

    def measured(self) -> dict[str, float]:
        """Return, of this call, seconds that the engine took to start, completion tokens per second since, and both."""
        return {
            "engine_start_s": round(self._engine_start_s, 1),
            "tokens_per_s": round(self._tokens_per_s(), 1),
            "elapsed_s": round(self._engine_start_s + self.clock() - self._began, 1),
        }

    def asked(self, kind: str) -> float:
        """Record that a request is in flight, and return the time."""
        now = self.clock()
        self._in_flight[kind] += 1
        self._asked_at[kind] += now
        return now

    def answered(self, kind: str, asked_at: float) -> None:
        """Record that the answer to a request has arrived."""
        self.dropped(kind, asked_at)
        seconds = self.clock() - asked_at
        self._answer_seconds[kind] += seconds
        self._latencies.setdefault(kind, deque(maxlen=_LATENCIES)).append(seconds)

    def dropped(self, kind: str, asked_at: float) -> None:
        """Record that a request is no longer in flight."""
        self._in_flight[kind] -= 1
        self._asked_at[kind] -= asked_at

    # ----------------------------------------------------------------------------------------------- decisions

    def allow_proposal(self, uncommitted: int) -> bool:
        """Return whether the budgets allow one more proposal beside `uncommitted` ones."""
        return self._exhausted(uncommitted) is None

    def stop(self, *, idle: bool) -> BudgetUsedUp | DeadlineReached | None:
        """Return the control line that ends proposing now, or None.

        Args:
            idle: nothing is in flight. Until then a budget only delays proposals: what is in flight may turn out
                cheaper than expected.
        """
        after = self._state.proposals - 1
        if self.finish_by is not None and self.clock() + self._drain_s() >= self._cutoff(self._instances_expected()):
            return DeadlineReached(after, deadlines.iso(self.finish_by))
        budget = self._exhausted(0) if idle else None
        value = budget and stop_rules.budget(self._limits, budget)
        if budget is None or value is None:
            return None
        return BudgetUsedUp(after, budget, value, int(self._spent().of(budget)))

    def overdue(self) -> bool:
        """Return whether there is no time left to wait even for what is owed."""
        return self.finish_by is not None and self.clock() >= self._cutoff(self._state.num_instances)

    def seconds_left(self) -> float | None:
        """Return the seconds until `overdue`; None without a deadline."""
        return None if self.finish_by is None else self._cutoff(self._state.num_instances) - self.clock()

    # ----------------------------------------------------------------------------------------------- estimates

    def _exhausted(self, uncommitted: int) -> BudgetName | None:
        """Return the budget that is used up by what is spent, owed and in flight."""
        values = {name: stop_rules.budget(self._limits, name) for name in _BUDGETS}
        if not any(values.values()):
            return None
        spent, owed, each = self._spent(), self._owed(), self._proposal()
        for name, value in values.items():
            if value is not None and spent.of(name) + owed.of(name) + uncommitted * each.of(name) >= value:
                return name
        return None

    def _spent(self) -> Cost:
        """Return what the generation has cost; scores and tags, whose lines come at any time, are not of it."""
        asked = [usage for kind, usage in self._state.usage.items() if kind not in ("score", "tags")]
        return Cost(sum(usage.requests for usage in asked), sum(usage.completion_tokens for usage in asked))

    def _owed(self) -> Cost:
        """Return the cost of the follow-ups that accepted instructions still need."""
        state = self._state
        unclassified = (
            len(state.pool) - state.num_whole - len(state.is_classification) - len(state.classification_failed)
        )
        unwritten = state.num_whole + len(state.is_classification) - len(state.instances)
        begun = len(state.begun_answers)
        unasked = state.num_inputs - state.num_answers - begun + (unclassified + unwritten) * self._inputs_each()
        answers = begun + unasked * self._requests_per_answer()
        tokens = unclassified * self._mean_tokens("classification")
        tokens += (unclassified + unwritten) * self._mean_tokens("instances") + answers * self._mean_tokens("answer")
        return Cost(2 * unclassified + unwritten + answers, tokens)

    def _proposal(self) -> Cost:
        """Return the cost of one proposal, with the follow-ups of what it will probably bring."""
        state = self._state
        accepted = len(state.pool) / state.proposals if state.proposals else self._method.proposal.num_new
        answers = self._inputs_each() * self._requests_per_answer()
        asked = 1 - state.num_whole / len(state.pool) if state.pool else 1.0  # Others are whole as they were proposed.
        follow_up = asked * (self._mean_tokens("classification") + self._mean_tokens("instances"))
        follow_up += answers * self._mean_tokens("answer")
        judged = state.usage["is_task"].requests / max(state.proposals, 1)
        tokens = self._mean_tokens("proposal") + judged + accepted * follow_up
        return Cost(1 + judged + (2 * asked + answers) * accepted, tokens)

    def _inputs_each(self) -> float:
        """Return the inputs of one instruction that are answered separately: their mean so far."""
        state = self._state
        return state.num_inputs / len(state.instances) if state.instances else float(self._separate)

    def _requests_per_answer(self) -> float:
        """Return the requests that one answer takes: more than one where some were cut and went on."""
        begun = self._state.answers_continued - len(self._state.begun_answers)
        return 1 + begun / self._state.num_answers if self._state.num_answers else 1.0

    def _mean_tokens(self, kind: str) -> float:
        usage = self._state.usage[kind]
        if usage.requests:
            return (usage.completion_tokens + self._tokens_in_flight(kind)) / usage.requests
        steps = {
            "proposal": self._method.proposal,
            "classification": self._method.classification,
            "instances": self._method.instances,
            "answer": self._method.answer,
        }
        samples = self._method.answer.num_samples if kind == "answer" else 1
        return float(samples * steps[kind].max_tokens)

    def _tokens_in_flight(self, kind: str) -> float:
        """Return what the requests in flight have written, if they write as fast as those that are answered."""
        if not self._in_flight[kind] or not self._answer_seconds[kind]:
            return 0.0
        written = self._state.usage[kind].completion_tokens - self._tokens_before_by_kind.get(kind, 0)
        waited = self._in_flight[kind] * self.clock() - self._asked_at[kind]
        return waited * written / self._answer_seconds[kind]

    def _tokens_per_s(self) -> float:
        seconds = self.clock() - self._began
        return (self._state.completion_tokens - self._tokens_before) / seconds if seconds > 0 else 0.0

    def _drain_s(self) -> float:
        """Return the seconds that the owed follow-ups will take.

        They go first, so that most of them are in flight already. Each instruction needs two or three answers, one
        after the other. Without proposals beside them they take no longer than before.
        """
        follow_ups = ("classification", "instances", *(["answer"] if self._separate else []))
        owed = self._owed().requests
        if not owed:
            return _CLOSING_S
        in_turn = sum(max(self._latencies.get(kind, self._latencies.get("proposal", [0.0]))) for kind in follow_ups)
        waves = max(1.0, owed / len(follow_ups) / self.max_in_flight)
        return deadlines.SAFETY_FACTOR * (in_turn * waves + self._other_model_s()) + _CLOSING_S

    def _other_model_s(self) -> float:
        """Return the seconds that another model takes to start and to answer all that is owed, if one answers.

        It is taken to be as fast as the generator.
        """
        if self._method.answer.model is None:
            return 0.0
        unanswered = self._state.num_inputs - self._state.num_answers
        tokens, speed = unanswered * self._mean_tokens("answer"), self._tokens_per_s()
        return self._engine_start_s + (tokens / speed if speed else 0.0)

    def _instances_expected(self) -> float:
        """Return the instances expected once every accepted instruction has been asked for them."""
        state = self._state
        lost = state.answers_rejected.total() + state.usage["answer"].failed
        share = 1 - lost / state.num_answers if state.num_answers else 1.0
        share *= self._method.answer.num_samples if self._method.answer.keep == "all" else 1
        expected = state.num_instances + share * (state.num_inputs - state.num_answers)
        each = expected / len(state.instances) if state.instances else 1.0
        return expected + each * (len(state.pool) - len(state.instances) - len(state.classification_failed))

    def _cutoff(self, instances: float) -> float:
        """Return the Unix seconds at which generation must be over."""
        assert self.finish_by is not None
        return self.finish_by - self._reserve.after(instances, self._engine_start_s, self._tokens_per_s())
