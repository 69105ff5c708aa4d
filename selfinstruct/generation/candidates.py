"""Decide on the candidates of a proposal: the filters of instructions, whether they are tasks, novelty."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec

from selfinstruct.generation import is_task
from selfinstruct.generation.filters import InstructionFilter
from selfinstruct.generation.filters.instances import check_instances
from selfinstruct.generation.filters.row import Row
from selfinstruct.generation.filters.rows import RowCheck, RowDecision
from selfinstruct.generation.instance_parsing import ParsedInstance
from selfinstruct.generation.proposal_parsing import ProposedText
from selfinstruct.novelty import NoveltyIndex
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
        return replace(decided, rejection=rejection)

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
        verdicts = {verdict.position: verdict for verdict in line.verdicts}
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

        for position, text in enumerate(proposed, first):
            name = f"p{line.n:06d}-{position:02d}"
            candidate = self._one(name, text, index, name_of, verdicts.get(position), room)
            decided.append(candidate)
            if candidate.accepted:
                added.append(Instruction(name, text.text, line.n))
                room -= 1
        return tuple(decided)

    def _one(
        self,
        name: str,
        text: ProposedText,
        index: NoveltyIndex,
        name_of: Callable[[int], str],
        verdict: Verdict | None,
        room: int,
    ) -> InstructionCandidate:
        """Decide on one candidate.

        Args:
            name: its id.
            text: the candidate.
            index: what it must be novel against; an accepted one is added.
            name_of: returns the id of a text by its number in the index.
            verdict: whether it is a task.
            room: instructions still wanted.
        """
        decided = self._alone(text) if room > 0 else RowDecision(Rejection("target_reached"))
        rejection = decided.rejection
        doubt = None if self.threshold is None else is_task.objection(verdict, self.threshold)
        if rejection is None and self.rejects:
            rejection = doubt
        near = None
        if rejection is None:
            novelty = index.accept(text.text)
            if novelty.nearest is not None:
                near = Neighbour(name_of(novelty.nearest.index), novelty.nearest.score)
            if novelty.accepted:
                warnings = dict(decided.warnings) | ({} if doubt is None else {doubt.reason: doubt.evidence})
                return InstructionCandidate(
                    name, text.text, accepted=True, nearest_seed=near, warnings=warnings, instance=text.instance
                )
            rejection = Rejection(str(novelty.reason), {"nearest": None if near is None else msgspec.to_builtins(near)})
        return InstructionCandidate(
            name, text.text, False, reason=rejection.reason, evidence=rejection.evidence, instance=text.instance
        )
