"""The scheduler: decides what to ask next, commits in order, decides when to stop.

Proposals are numbered. Proposal n's prompt is made from the pool after an earlier one, whose number is a function of n
(`Method.last_seen`), and its answer is committed after those of all earlier proposals; answers that come early wait.
Classification and instance requests depend on their instruction alone and are committed as they arrive. So, given the
same answers from the engine, two runs have the same proposals in the same order and the same set of journal lines,
whatever the latencies and however often one of them was interrupted.

Everything shares one stream: follow-ups go first, proposals fill the rest, and the engine's batch never drains
between stages.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import msgspec

from selfinstruct.config.stopping import Saturation
from selfinstruct.engines.base import Engine, Request, RequestFailed
from selfinstruct.errors import StoppedError
from selfinstruct.generation import is_task, stop_rules
from selfinstruct.generation.asking_again import asked_again, with_further_try
from selfinstruct.generation.budget import BudgetTracker
from selfinstruct.generation.proposers.earnings import Earnings
from selfinstruct.generation.steps import Steps
from selfinstruct.generation.traffic import Traffic
from selfinstruct.novelty import NoveltyIndex
from selfinstruct.records import Completion
from selfinstruct.run.lines import AnswerLine, ClassificationLine, Failure, InstancesLine, Line, ProposalLine
from selfinstruct.run.state import FollowUp, RunState

RequestKind = Literal["proposal", "classification", "instances", "answer"]
EVERY_KIND: tuple[RequestKind, ...] = get_args(RequestKind)
_TICK_S = 1.0
"""Seconds between looks at the clock while nothing arrives."""


@dataclass(slots=True)
class _Flight:
    """A request in flight: its step, and what is needed to decide on its answer.

    It is about a proposal, whose line is known but for the answer, about one of its candidates (position and text), or
    a follow-up.
    """

    kind: str
    proposal: ProposalLine | None = None
    candidate: tuple[int, str] | None = None
    follow_up: FollowUp | None = None
    asked_at: float = 0.0


class Pipeline:
    """Runs generation to its target, to saturation, or to a limit.

    Args:
        steps: build requests and decide on answers.
        engine: answers the requests.
        state: the run; updated as lines are committed.
        commit: makes one line durable; called before `state` is updated.
        budget: budgets and deadline.
        saturation: when to stop for want of new instructions.
        max_in_flight: requests given to the engine at once.
        asks: the kinds of requests to make; others are left to another engine.
        on_commit: called after each committed line; for progress displays and tests.
    """

    def __init__(
        self,
        steps: Steps,
        engine: Engine,
        state: RunState,
        commit: Callable[[Line], None],
        *,
        budget: BudgetTracker,
        saturation: Saturation,
        max_in_flight: int,
        asks: Collection[RequestKind] = EVERY_KIND,
        on_commit: Callable[[Line], None] | None = None,
    ) -> None:
        self.steps = steps
        self.engine = engine
        self.state = state
        self._method = steps.method
        self._write = commit
        self.on_commit = on_commit
        self._budget = budget
        self._saturation = saturation
        self._max_in_flight = max_in_flight
        self.traffic = Traffic()
        self._flights: dict[asyncio.Task[Completion], _Flight] = {}
        self._finished: asyncio.Queue[asyncio.Task[Completion] | None] = asyncio.Queue()
        self._dropped: list[asyncio.Task[Completion]] = []
        self._arrived: dict[int, tuple[ProposalLine, Completion | RequestFailed]] = {}
        self._to_judge: deque[tuple[ProposalLine, tuple[int, str]]] = deque()
        self._unjudged: Counter[int] = Counter()
        self._asks = frozenset(asks)
        self._follow_ups: deque[FollowUp] = deque()
        self._owe(state.pending())
        self._next_proposal = state.proposals
        self._failed_in_a_row = 0
        self._earnings = Earnings(state) if self._method.proposers.adaptive else None
        filters = self._method.filters
        self._index = NoveltyIndex((s.instruction for s in steps.seeds), filters.threshold, tokenizer=filters.tokenizer)
        self._index.add_many(instruction.text for instruction in (*steps.parents, *state.pool))

    async def run(self) -> None:
        """Run to the target, to saturation or to a limit, follow-ups included.

        After the deadline follow-ups are left for the next start. Cancelling leaves a state that can be continued.

        Raises:
            EngineError: the engine is gone.
            StoppedError: the engine answers no proposal any more.
        """
        # The run may have been killed between the proposal that saturated it and the line that says so.
        self._stop_when_saturated()
        ticking = asyncio.ensure_future(self._tick())
        try:
            while True:
                self._stop_at_a_limit()
                if self._budget.overdue():
                    return
                self._fill()
                if not self._flights:
                    return
                task = await self._finished.get()
                flight = self._flights.pop(task, None) if task is not None else None
                if task is not None and flight is not None:  # Else it was dropped, or the clock only ticked.
                    self._arrive(flight, _outcome(task))
                # Also while many answers wait: the engine runs on this event loop, too.
                await asyncio.sleep(0)
        finally:
            ticking.cancel()
            self._drop(lambda flight: True)
            await asyncio.gather(ticking, *self._dropped, return_exceptions=True)

    @property
    def in_flight(self) -> int:
        """Requests in flight."""
        return len(self._flights)

    @property
    def wants_proposals(self) -> bool:
        """Whether more instructions are wanted."""
        wanted = len(self.state.pool) < self.state.target and self.state.stopped is None
        return wanted and "proposal" in self._asks

    @property
    def _uncommitted(self) -> int:
        """Proposals that were asked for and are not committed yet."""
        return self._next_proposal - self.state.proposals

    # ---------------------------------------------------------------------------------------------- asking

    def _fill(self) -> None:
        """Fill the engine up to `max_in_flight` requests: follow-ups first, then proposals inside the window.

        Before both, the candidates on which the next proposals to commit wait.
        """
        while self._to_judge and len(self._flights) < self._max_in_flight:
            proposal, candidate = self._to_judge.popleft()
            self._ask(_Flight("is_task", proposal, candidate))
        while self._follow_ups and len(self._flights) < self._max_in_flight:
            left = self._follow_ups.popleft()
            self._ask(_Flight(left.kind, follow_up=left))
        while (
            self.wants_proposals
            and len(self._flights) < self._max_in_flight
            and self._may_be_asked(self._next_proposal)
            and self._budget.allow_proposal(self._uncommitted)
        ):
            self._ask(_Flight("proposal", self._undecided(self._next_proposal)))
            self._next_proposal += 1

    def _owe(self, left: Iterable[FollowUp]) -> None:
        """Put follow-ups behind those that are waiting, if this engine is to answer them."""
        self._follow_ups.extend(follow_up for follow_up in left if follow_up.kind in self._asks)

    def _may_be_asked(self, n: int) -> bool:
        """Return whether all is known that proposal n sees."""
        seen = self._method.last_seen(n)
        return seen < self.state.proposals and (self._earnings is None or self._earnings.are_settled(seen))

    def _undecided(self, n: int) -> ProposalLine:
        earned = None if self._earnings is None else self._earnings.up_to(self._method.last_seen(n))
        return self.steps.undecided(n, earned)

    def _ask(self, flight: _Flight) -> None:
        try:
            request = self._request(flight)
        except RequestFailed as failure:
            answer = _fail(failure)  # It arrives like any other answer, so that nothing is committed while asking.
        else:
            answer = self.engine.generate(request)
        task = asyncio.ensure_future(answer)
        flight.asked_at = self._budget.asked(flight.kind)
        self._flights[task] = flight
        task.add_done_callback(self._finished.put_nowait)

    def _request(self, flight: _Flight) -> Request:
        """Return the request, and note in the flight what its proposal's line says of it."""
        if flight.candidate is not None and flight.proposal is not None:
            position, text = flight.candidate
            return self.steps.is_task_request(f"is_task/p{flight.proposal.n:06d}-{position:02d}", text)
        if flight.proposal is not None:
            seen = self._method.last_seen(flight.proposal.n)
            visible = self.state.pool_after[seen] if seen >= 0 else 0
            n, pool = flight.proposal.n, self.state.pool
            request, flight.proposal = self.steps.proposal_request(n, pool, visible, flight.proposal)
            return request
        assert flight.follow_up is not None
        return asked_again(self._follow_up_request(flight.follow_up), self._tried(flight.follow_up))

    def _follow_up_request(self, asked: FollowUp) -> Request:
        if asked.kind == "classification":
            return self.steps.classification_request(asked.instruction)
        if asked.kind == "answer":
            return self.steps.answer_request(asked.instruction, asked.number, *self._input_of(asked))
        return self.steps.instances_request(asked.instruction, self.state.is_classification[asked.instruction.id])

    def _tried(self, asked: FollowUp) -> int:
        """Return how often a follow-up has been asked again."""
        return self.state.tries.due(asked.kind, asked.instruction.id, asked.number)

    def _input_of(self, asked: FollowUp) -> tuple[str, Completion | None]:
        """Return the input that a request for an answer is about, and the beginning of the answer if it was cut."""
        name, number = asked.instruction.id, asked.number
        return self.state.inputs[name][number], self.state.begun_answers.get((name, number))

    # ------------------------------------------------------------------------------------------ committing

    def _arrive(self, flight: _Flight, outcome: Completion | RequestFailed) -> None:
        if isinstance(outcome, Completion):
            self.traffic.note(flight.kind, outcome)
        self._budget.answered(flight.kind, flight.asked_at)
        if flight.follow_up is not None:
            self._commit_follow_up(flight.follow_up, outcome)
        if flight.proposal is None:
            return
        if flight.candidate is not None:
            self._judge(flight.proposal.n, flight.candidate[0], outcome)
        else:
            self._answer(flight.proposal, outcome)
        while self.wants_proposals and (n := self.state.proposals) in self._arrived and not self._unjudged[n]:
            del self._unjudged[n]
            self._commit_proposal(*self._arrived.pop(n))

    def _answer(self, asked: ProposalLine, outcome: Completion | RequestFailed) -> None:
        """Keep the answer of a proposal until its turn; ask first which of its candidates are tasks."""
        self._arrived[asked.n] = (asked, outcome)
        if isinstance(outcome, Completion):
            candidates = self.steps.to_judge(asked, outcome)
            self._unjudged[asked.n] = len(candidates)
            self._to_judge.extend((asked, candidate) for candidate in candidates)

    def _judge(self, n: int, position: int, outcome: Completion | RequestFailed) -> None:
        asked, answer = self._arrived[n]
        verdicts = sorted((*asked.verdicts, is_task.verdict(position, outcome)), key=lambda v: v.position)
        self._arrived[n] = (msgspec.structs.replace(asked, verdicts=tuple(verdicts)), answer)
        self._unjudged[n] -= 1

    def _commit_proposal(self, asked: ProposalLine, outcome: Completion | RequestFailed) -> None:
        before = len(self.state.pool)
        if isinstance(outcome, RequestFailed):
            self._commit(msgspec.structs.replace(asked, failed=_failure(outcome)))
            self._stop_when_all_fail(outcome)
        else:
            self._failed_in_a_row = 0
            room = self.state.target - before
            self._commit(self.steps.decide_proposal(asked, outcome, self._index, self.state.pool, room))
        for instruction in self.state.pool[before:]:
            self._owe(self.state.follow_ups(instruction))
        self._stop_when_saturated()
        if not self.wants_proposals:
            self._drop_proposals()

    def _commit_follow_up(self, asked: FollowUp, outcome: Completion | RequestFailed) -> None:
        instruction, name = asked.instruction, asked.instruction.id
        line = with_further_try(self._decided(asked, outcome), self._tried(asked), self._method.max_retries)
        self._commit(line)
        if line.again or (isinstance(line, AnswerLine) and line.to_be_continued):
            self._follow_ups.append(asked)
        elif isinstance(line, ClassificationLine) and name in self.state.is_classification:
            self._owe([FollowUp("instances", instruction)])
        elif isinstance(line, InstancesLine):
            self._owe(FollowUp("answer", instruction, n) for n in self.state.unanswered(name))

    def _decided(
        self, asked: FollowUp, outcome: Completion | RequestFailed
    ) -> ClassificationLine | InstancesLine | AnswerLine:
        """Return the journal line of a follow-up, before it is known whether a failed one is asked again."""
        instruction, name = asked.instruction, asked.instruction.id
        if asked.kind == "classification":
            if isinstance(outcome, RequestFailed):
                return ClassificationLine(name, failed=_failure(outcome))
            return self.steps.decide_classification(instruction, outcome)
        if asked.kind == "instances":
            if isinstance(outcome, RequestFailed):
                return InstancesLine(name, failed=_failure(outcome))
            return self.steps.decide_instances(instruction, self.state.is_classification[name], outcome)
        if isinstance(outcome, RequestFailed):
            return AnswerLine(name, asked.number, failed=_failure(outcome))
        return self.steps.decide_answer(instruction, asked.number, *self._input_of(asked), outcome)

    def _stop_when_saturated(self) -> None:
        """Stop proposing when the last proposals brought too little."""
        if self.wants_proposals and (stop := stop_rules.saturated(self.state, self._saturation)):
            self._commit(stop)

    def _stop_when_all_fail(self, last: RequestFailed) -> None:
        """Raise `StoppedError` when as many proposals in a row have failed as saturation looks at.

        That is no saturation: nothing was answered, so that other seeds or options of saturation would not help.
        """
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= self._saturation.window:
            raise StoppedError(
                f"the last {self._failed_in_a_row:,} proposals all failed; the last of them: {last}\n"
                "Mend the cause; the same command continues. `selfinstruct status` counts failures by their reason."
            )

    def _stop_at_a_limit(self) -> None:
        """Stop proposing when a budget is used up, or the time left is needed for what was accepted."""
        if self.wants_proposals and (
            stop := self._budget.stop(idle=not (self._flights or self._follow_ups or self._to_judge))
        ):
            self._commit(stop)
            self._drop_proposals()

    async def _tick(self) -> None:
        """Wake the loop once a second, so that a deadline is seen while no answer arrives."""
        while True:
            await asyncio.sleep(_TICK_S)
            self._finished.put_nowait(None)

    def _commit(self, line: Line) -> None:
        self._write(line)
        self.state.apply(line)
        if self.on_commit is not None:
            self.on_commit(line)

    def _drop_proposals(self) -> None:
        self._arrived.clear()
        self._to_judge.clear()
        self._unjudged.clear()
        self._drop(lambda flight: flight.proposal is not None)

    def _drop(self, which: Callable[[_Flight], bool]) -> None:
        """Cancel requests in flight; the engine aborts them. None is in the journal, so they can be asked again."""
        for task in [task for task, flight in self._flights.items() if which(flight)]:
            dropped = self._flights.pop(task)
            self._budget.dropped(dropped.kind, dropped.asked_at)
            task.cancel()
            self._dropped.append(task)


async def _fail(failure: RequestFailed) -> Completion:
    raise failure


def _outcome(task: asyncio.Task[Completion]) -> Completion | RequestFailed:
    """Return the answer or the failure of this request; the end of the engine itself is raised."""
    try:
        return task.result()
    except RequestFailed as failure:
        return failure


def _failure(failed: RequestFailed) -> Failure:
    return Failure(failed.reason, failed.detail)
