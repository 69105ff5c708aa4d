"""Decide on the candidates of a proposal: the filters of instructions, whether they are tasks, novelty."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from selfinstruct.generation import is_task
from selfinstruct.generation.filters import InstructionFilter
from selfinstruct.generation.filters.instances import check_instances
from selfinstruct.generation.filters.row import Row
from selfinstruct.generation.filters.rows import RowCheck, RowDecision
from selfinstruct.generation.instance_parsing import ParsedInstance
from selfinstruct.generation.proposal_parsing import ProposedText
from selfinstruct.novelty import NoveltyIndex
from selfinstruct.novelty import Verdict as Novelty
from selfinstruct.records import Instruction, Rejection, SeedTask
from selfinstruct.run.lines import InstructionCandidate, Neighbour, ProposalLine, Verdict


@dataclass(frozen=True, slots=True)
class CandidateDecisions:
    """What decides on candidates.

    Attributes:
        seeds: the seed tasks, in the order of the novelty index.
        parents: instructions of parent runs; likewise, after the seeds.
        accepts: the filters of instructions.
        check_row: the filters of rows, for an instruction that brings its instance along.
        threshold: least log-odds of a task; None: that is not looked at.
        rejects: whether what is no task is rejected; else it is accepted with a warning.
    """

    seeds: Sequence[SeedTask]
    parents: Sequence[Instruction]
    accepts: InstructionFilter
    check_row: RowCheck
    threshold: float | None
    rejects: bool

    def to_judge(self, proposed: Sequence[ProposedText]) -> list[tuple[int, str]]:
        """Return the candidates that only the pool or the model could still reject, as (position, text).

        Args:
            proposed: candidates in order.
        """
        known = {seed.instruction for seed in self.seeds}  # The copy of a seed is never novel.
        return [
            (position, text.text)
            for position, text in enumerate(proposed)
            if text.text not in known and self._alone(text).rejection is None
        ]

    def _alone(self, proposed: ProposedText) -> RowDecision:
        """Return what is decided about a candidate by itself: by its text, and by its instance if it brings one."""
        rejection = proposed.fault if proposed.fault is not None else self.accepts(proposed.text)
        if rejection is not None or (brought := proposed.instance) is None:
            return RowDecision(rejection)
        decided = self.check_row(Row(proposed.text, brought.input, brought.output))
        parsed = ParsedInstance(brought.input, brought.output)
        (rejection,) = check_instances([parsed], max_instances=1, of_rows=[decided.rejection])
        return msgspec.structs.replace(decided, rejection=rejection)

    def decide(
        self,
        line: ProposalLine,
        proposed: Sequence[ProposedText],
        index: NoveltyIndex,
        pool: Sequence[Instruction],
        room: int,
        first: int,
    ) -> tuple[InstructionCandidate, ...]:
        """Decide on each candidate of a proposal; see `Steps.decide_candidates`.

        Args:
            line: the proposal's line, without its candidates.
            proposed: texts that the completion holds.
            index: of the instructions that a candidate must differ from.
            pool: accepted instructions.
            room: how many more the run accepts.
            first: number of the first candidate.
        """
        decided: list[InstructionCandidate] = []
        added: list[Instruction] = []
        texts: tuple[Sequence[SeedTask | Instruction], ...] = (self.seeds, self.parents, pool, added)

        def name_of(number: int) -> str:
            """Return the id of a text by its number in the index."""
            for some in texts:
                if number < len(some):
                    return some[number].id
                number -= len(some)
            raise IndexError(number)

        looked_at = self._looked_at(proposed, index, {v.position: v for v in line.verdicts}, room, first)
        for position, (text, alone, novelty) in enumerate(looked_at, first):
            name = f"p{line.n:06d}-{position:02d}"
            candidate = _candidate(name, text, alone, novelty, name_of)
            decided.append(candidate)
            if candidate.accepted:
                added.append(Instruction(name, text.text, line.n))
        return tuple(decided)

    def _looked_at(
        self,
        proposed: Sequence[ProposedText],
        index: NoveltyIndex,
        verdicts: Mapping[int, Verdict],
        room: int,
        first: int,
    ) -> Iterator[tuple[ProposedText, RowDecision, Novelty | None]]:
        """Yield each candidate, what is decided about it by itself, and its novelty if nothing rejects it.

        As many as there is room for are compared at once, since a call of the index takes longer than a comparison.

        Args:
            proposed: the candidates.
            index: what they must be novel against; accepted ones are added.
            verdicts: which of them are tasks, by position.
            room: instructions still wanted.
            first: position of the first of them.
        """
        while proposed:
            if room <= 0:
                yield from ((text, RowDecision(Rejection("target_reached")), None) for text in proposed)
                return
            some, proposed = proposed[:room], proposed[room:]
            alone = [self._by_itself(text, verdicts.get(position)) for position, text in enumerate(some, first)]
            left = [text.text for text, decided in zip(some, alone, strict=True) if decided.rejection is None]
            novelties = iter(index.accept_batch(left))
            for text, decided in zip(some, alone, strict=True):
                novelty = next(novelties) if decided.rejection is None else None
                room -= novelty is not None and novelty.accepted
                yield text, decided, novelty
            first += len(some)

    def _by_itself(self, proposed: ProposedText, verdict: Verdict | None) -> RowDecision:
        """Return what is decided about a candidate by itself, and by the model's verdict about it."""
        decided = self._alone(proposed)
        doubt = None if self.threshold is None else is_task.objection(verdict, self.threshold)
        if decided.rejection is not None or doubt is None:
            return decided
        if self.rejects:
            return RowDecision(doubt)
        return msgspec.structs.replace(decided, warnings={**decided.warnings, doubt.reason: doubt.evidence})


def _candidate(
    name: str, text: ProposedText, alone: RowDecision, novelty: Novelty | None, name_of: Callable[[int], str]
) -> InstructionCandidate:
    """Return the decision about a candidate as the journal records it.

    Args:
        name: its id.
        text: the candidate.
        alone: what is decided about it by itself.
        novelty: its novelty, if nothing else rejects it.
        name_of: returns the id of a text by its number in the index.
    """
    rejection, near = alone.rejection, None
    if novelty is not None:
        if novelty.nearest is not None:
            near = Neighbour(name_of(novelty.nearest.index), novelty.nearest.score)
        if novelty.accepted:
            return InstructionCandidate(
                name, text.text, accepted=True, nearest_seed=near, warnings=alone.warnings, instance=text.instance
            )
        rejection = Rejection(str(novelty.reason), {"nearest": None if near is None else msgspec.to_builtins(near)})
    assert rejection is not None
    return InstructionCandidate(
        name, text.text, False, reason=rejection.reason, evidence=rejection.evidence, instance=text.instance
    )
