"""`selfinstruct refilter`: decide again about every candidate of a run, under other filters, without a GPU.

The new run directory has a journal like any other: `status`, `export`, `explain` and `generate` work on it. It holds
the same proposals with the same answers. Other candidates may be accepted, and so other follow-ups are kept:

- Candidates are decided in their order by the new filters. A candidate that the recorded run left undecided, because it
  had reached its target, stays undecided if the new pool has reached that target too. All others are decided, even if
  the pool is full; the new run's target is then raised to the number of accepted instructions.
- Classifications, instances and answers of instructions that are still accepted are kept; instances are decided again
  (`max_instances` is a filter). Those of instructions that are no longer accepted are left out, and counted. So are
  answers to inputs that are no longer accepted.
- Instructions that are accepted only now have no answers: they are pending.
- A stop for saturation is kept, with its new counts, if the new decisions also lead to it.

Under the recorded filters every line but the header stays the same, byte for byte.

The result is not the run that the new filters would have produced: filtering depends on the order, and the prompts of
later proposals showed instructions of the recorded pool.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, assert_never, get_args

import msgspec

from selfinstruct.config.earlier_defaults import completed
from selfinstruct.config.load import dump_yaml
from selfinstruct.config.schema import Filters, Keep, Saturation
from selfinstruct.engines.base import Request
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.errors import ConfigError, EngineError, InputError
from selfinstruct.formats import jsonl, seed_tasks
from selfinstruct.formats.evaluation_tasks import EvaluationText
from selfinstruct.generation import stop_rules
from selfinstruct.generation.instance_decisions import decide_inputs
from selfinstruct.generation.instance_parsing import ParsedInstance
from selfinstruct.generation.material import evaluation_texts
from selfinstruct.generation.parsing import fault_of
from selfinstruct.generation.proposal_parsing import ProposedText
from selfinstruct.generation.steps import Method, Steps
from selfinstruct.novelty import NoveltyIndex
from selfinstruct.records import Instruction, Rejection
from selfinstruct.run import evaluation_record, lines, ownership, parents
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.journal import read_raw_lines
from selfinstruct.run.lines import (
    AnswerLine,
    BudgetUsedUp,
    ClassificationLine,
    DeadlineReached,
    Header,
    InstanceCandidate,
    InstancesLine,
    InstructionCandidate,
    Interruption,
    Line,
    OutputLine,
    ProposalLine,
    RefilteredFrom,
    Resumed,
    Saturated,
    TargetRaised,
)
from selfinstruct.run.state import NO_HEADER, FollowUpKind, RunState, replay

NOT_THE_SAME = (
    "This is not the run that these filters would have produced: filtering depends on the order, and the prompts drew "
    "on the recorded pool."
)

_NO_LIMIT = 1 << 60


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
        filters: the filter options that differ, by name: (recorded, now).
        candidates: what became of the candidates.
        instances: what became of the instances.
        answers_left_out: answered requests about instructions that are no longer accepted.
        pending: requests that `generate` would make on the new run.
        target: the new run's target.
        stops_left_out: stops that the new decisions do not lead to.
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


def refilter(run_dir: Path, output: Path, filters: Filters, keep: Keep | None = None) -> RefilterResult:
    """Write a new run in `output` with the candidates of the run in `run_dir`, decided again by `filters`.

    Args:
        run_dir: the recorded run; another process may be writing it. What it has committed so far is read.
        output: the new run directory; must not hold a run.
        filters: all filters, also those that stay as they were.
        keep: which of several answers are kept (`answer.keep`); None: as recorded.

    Raises:
        InputError: no run, a damaged journal, a regenerated run, or seeds that have changed.
        ConfigError: `output` already holds a run, or files that a run would write over.
        RunLockedError: another process writes `output`.
    """
    source, new = RunDirectory(run_dir), RunDirectory(output)
    source.require_journal()
    if new.journal.exists():
        raise ConfigError(f"{output} already holds a run; give another directory with -o")
    header = _header_of(source)
    recorded = source.config()
    tasks = seed_tasks.load_unchanged_seed_tasks(recorded.seeds, header.identity["seeds_sha256"])
    of_parents = parents.load_unchanged_parents(recorded.parent_runs, header.identity).instructions
    if filters.is_task != "off" and completed(header.identity)["filters"]["is_task"] == "off":
        raise ConfigError(f"filters.is_task: {filters.is_task}: {run_dir} never asked which instructions are tasks")
    answer = recorded.answer.model_copy(update={"keep": keep or recorded.answer.keep})
    config = recorded.model_copy(update={"filters": filters, "answer": answer, "output_dir": str(output)})
    style = header.resolved["style"]
    evaluation = evaluation_texts(filters, config.evaluate, source.evaluation_tasks, header.identity)
    steps = Steps(Method.of(config), tasks, tasks, ScriptedEngine(_refuse_request), style, of_parents, evaluation)
    steps.calibration = header.calibration
    with new.locked():
        ownership.require_free(new)
        if evaluation:
            evaluation_record.write_evaluation_texts(new.evaluation_tasks, evaluation)
        redecision = _Redecision(source, steps, config.saturation, evaluation)
        with jsonl.atomic_path(new.journal) as temporary:
            with temporary.open("wb") as stream:
                redecision.write(stream)
            target = {"num_instructions": redecision.new.target}
            jsonl.write_text(new.config_path, dump_yaml(config.model_copy(update=target)))
    before, now = completed(header.identity)["filters"], filters.model_dump(mode="json")
    changed = {name: (before.get(name), value) for name, value in now.items() if before.get(name) != value}
    return redecision.result(run_dir, output, changed)


def _header_of(source: RunDirectory) -> Header:
    """Return the header of a run that can be refiltered."""
    header = source.header()
    if header is NO_HEADER:
        raise InputError(f"{source.journal} has no header: there is nothing to decide again")
    if header.regenerates:
        raise InputError(
            f"{source.path}: its outputs are rewritten. Refilter the run that it was made from, {header.source}, and "
            "then rewrite the outputs of the result with `selfinstruct regenerate`"
        )
    return header


class _Redecision:
    """One reading of the recorded journal, during which the new journal is written.

    Args:
        source: the recorded run.
        steps: decides about candidates by the new filters.
        saturation: the rule for a stop.
        evaluation: the evaluation tasks that the steps compare with.

    Attributes:
        old: the state of the recorded run.
        new: the state of the new run.
    """

    def __init__(
        self, source: RunDirectory, steps: Steps, saturation: Saturation, evaluation: list[EvaluationText]
    ) -> None:
        self.old = RunState()
        self.new = RunState()
        self._source = source
        self._steps = steps
        self._saturation = saturation
        self._evaluation = evaluation
        filters = steps.method.filters
        self._index = NoveltyIndex(
            (seed.instruction for seed in steps.seeds), filters.threshold, tokenizer=filters.tokenizer
        )
        self._index.add_many(instruction.text for instruction in steps.parents)
        self._num_lines = _count_lines(source.journal)
        self._target = 0  # Of the recorded run, at the current line.
        self._pool: list[Instruction] = []
        self._accepted: dict[str, Instruction] = {}
        self._counts: Counter[str] = Counter()

    def write(self, stream: BinaryIO) -> None:
        """Write the new journal."""

        def watch() -> Iterator[Line]:
            raw_lines = read_raw_lines(self._source.journal, live=True)
            for raw, line in islice(raw_lines, self._num_lines):  # Another process may be writing more.
                yield line  # `replay` has accepted it when it asks for the next.
                decided = self._decide(line)
                if decided is not None:
                    stream.write(raw if decided == line else lines.rewrite(raw, decided))
                    self.new.apply(decided)

        self.old = replay(watch(), self._source.journal)
        if len(self.new.pool) > self.new.target:
            raised = TargetRaised(self.new.proposals - 1, len(self.new.pool))
            stream.write(lines.encode(raised))
            self.new.apply(raised)

    def result(self, run_dir: Path, output: Path, changed: dict[str, tuple[Any, Any]]) -> RefilterResult:
        """Return the counts.

        Args:
            run_dir: the recorded run.
            output: the new run.
            changed: the filter options that differ.
        """
        counts, all_counts = self._counts, self.new.counts()
        candidates = all_counts.candidates
        pending = Counter(left.kind for left in self.new.pending())
        return RefilterResult(
            run=run_dir,
            output=output,
            filters=changed,
            candidates=CandidateMoves(
                total=candidates.total,
                accepted_before=len(self.old.pool),
                accepted=candidates.accepted,
                rejected=candidates.rejected,
                stayed=counts["stayed"],
                entered=counts["entered"],
                left=counts["left"],
                stayed_out=counts["stayed_out"],
                reasons=candidates.reasons,
            ),
            instances=InstanceMoves(
                before=self.old.num_instances,
                lost=counts["instances lost"],
                dropped=counts["instances dropped"],
                gained=counts["instances gained"],
                kept=self.new.num_instances,
                reasons=all_counts.instances.reasons,
                warnings=all_counts.warnings,
            ),
            answers_left_out=FollowUps(*(counts[f"{kind} left out"] for kind in get_args(FollowUpKind))),
            pending=FollowUps(*(pending[kind] for kind in get_args(FollowUpKind))),
            target=self.new.target,
            stops_left_out=counts["stops left out"],
        )

    def _decide(self, line: Line) -> Line | None:
        """Return the line of the new journal; None when the line is left out."""
        match line:
            case Header():
                self._target = line.num_instructions
                return self._header(line)
            case ProposalLine():
                return self._proposal(line)
            case ClassificationLine():
                if line.id in self._accepted:
                    return line
                self._counts["classification left out"] += 1
                return None
            case InstancesLine():
                if line.id in self._accepted:
                    return self._instances(line)
                self._counts["instances left out"] += 1
                if line.form != "input_only":
                    self._counts["instances lost"] += sum(candidate.accepted for candidate in line.candidates)
                return None
            case AnswerLine():
                if line.instance in self.new.inputs.get(line.id, ()):
                    return self._answer(line)
                self._counts["answer left out"] += 1
                moved = "dropped" if line.id in self._accepted else "lost"
                self._counts[f"instances {moved}"] += sum(candidate.accepted for candidate in line.candidates)
                return None
            case OutputLine():
                raise InputError(f"{self._source.journal} has rewritten outputs, but its header says that it has none")
            case TargetRaised():
                self._target = line.num_instructions
                return line
            case Saturated():
                return self._saturated(line)
            case Resumed() | Interruption() | BudgetUsedUp() | DeadlineReached():
                return line
            case _ as never:
                assert_never(never)

    def _header(self, line: Header) -> Header:
        method = self._steps.method
        identity = {**line.identity, "filters": method.filters.model_dump(mode="json")}
        if "answer" in identity:
            identity["answer"] = {**identity["answer"], "keep": method.answer.keep}
        identity.pop(evaluation_record.FINGERPRINT, None)
        if self._evaluation:
            identity[evaluation_record.FINGERPRINT] = evaluation_record.fingerprint(self._evaluation)
        return Header(
            version=line.version,
            identity=identity,
            resolved=line.resolved,
            num_instructions=line.num_instructions,
            refiltered_from=RefilteredFrom(
                run=str(self._source.path.resolve()),
                lines=self._num_lines,
                filters=line.identity["filters"],
                refiltered_from=line.refiltered_from,
            ),
            source=line.source,
            calibration=line.calibration,
        )

    def _saturated(self, line: Saturated) -> Saturated | None:
        if stop_rules.look_back(self.new, line.window, line.cause) == line:
            return line
        stop = stop_rules.saturated_within(self.new, line.window, self._saturation)
        self._counts["stops left out"] += stop is None
        return stop

    def _proposal(self, line: ProposalLine) -> ProposalLine:
        recorded = line.candidates
        # If the recorded run reached its target in this proposal, the candidates after that were left undecided.
        reached = next((k for k, c in enumerate(recorded) if c.reason == "target_reached"), len(recorded))
        texts = [ProposedText(c.instruction, self._fault(line, k), c.instance) for k, c in enumerate(recorded)]
        decided = self._candidates(line, texts[:reached], 0, _NO_LIMIT)
        decided += self._candidates(line, texts[reached:], reached, self._target - len(self._pool))
        for before, now in zip(recorded, decided, strict=True):
            self._counts[_MOVES[before.accepted, now.accepted]] += 1
            if before.instance is not None and before.accepted != now.accepted:
                self._counts["instances gained" if now.accepted else "instances lost"] += 1
        return msgspec.structs.replace(line, candidates=decided)

    def _candidates(
        self, line: ProposalLine, texts: list[ProposedText], first: int, room: int
    ) -> tuple[InstructionCandidate, ...]:
        """Decide about the candidates of a proposal from position `first` on."""
        decided = self._steps.decide_candidates(line, texts, self._index, self._pool, room, first)
        accepted = [Instruction(c.id, c.instruction, line.n) for c in decided if c.accepted]
        self._pool += accepted
        self._accepted.update((instruction.id, instruction) for instruction in accepted)
        return decided

    def _fault(self, line: ProposalLine, position: int) -> Rejection | None:
        """Return the fault that the parser found in a candidate.

        The reason of an undecided candidate does not say so; then the completion does.
        """
        candidate = line.candidates[position]
        if candidate.reason != "target_reached" or position < len(line.candidates) - 1 or line.completion is None:
            return fault_of(candidate.reason, candidate.evidence)
        parsed = self._steps.parse_proposal(line)
        return parsed[-1].fault if parsed else None

    def _instances(self, line: InstancesLine) -> InstancesLine:
        if line.form == "input_only":
            most = self._steps.method.filters.max_instances
            return msgspec.structs.replace(line, candidates=decide_inputs(_parsed(line.candidates), most))
        instruction = self._accepted[line.id]
        decided = self._steps.decide_rows(instruction, line.form == "output_first", _parsed(line.candidates))
        self._count_moves(line.candidates, decided)
        return msgspec.structs.replace(line, candidates=decided)

    def _answer(self, line: AnswerLine) -> AnswerLine:
        thinking = [candidate.thinking for candidate in line.candidates]
        text = self._accepted[line.id].text
        decided = self._steps.answering.decide_read(text, _parsed(line.candidates), thinking, line.constraints)
        self._count_moves(line.candidates, decided)
        return msgspec.structs.replace(line, candidates=decided)

    def _count_moves(self, recorded: Sequence[InstanceCandidate], decided: Sequence[InstanceCandidate]) -> None:
        for before, now in zip(recorded, decided, strict=True):
            if before.accepted != now.accepted:
                self._counts["instances gained" if now.accepted else "instances dropped"] += 1


def _parsed(candidates: Sequence[InstanceCandidate]) -> list[ParsedInstance]:
    """Return recorded candidates as they were parsed."""
    return [ParsedInstance(c.input, c.output, fault_of(c.reason, c.evidence)) for c in candidates]


_MOVES = {(True, True): "stayed", (False, True): "entered", (True, False): "left", (False, False): "stayed_out"}
"""What became of a candidate, by (accepted in the recorded run, accepted now)."""


def _refuse_request(request: Request) -> Exception:
    return EngineError(f"{request.key}: refiltering makes no requests")


def _count_lines(path: Path) -> int:
    with path.open("rb") as stream:
        return sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))


# -------------------------------------------------------------------------------------------------- render


def render(result: RefilterResult) -> str:
    """Return the result as text for a person."""
    candidates, instances = result.candidates, result.instances
    changed = ", ".join(f"{name} {old} -> {new}" for name, (old, new) in result.filters.items())
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
    if pending := result.pending.total:
        has, is_ = ("instruction has", "is") if pending == 1 else ("instructions have", "are")
        text.append(
            f"pending: {pending:,} {has} no instances yet and {is_} left out of exports; "
            f"`selfinstruct generate --output-dir {result.output}` generates them"
        )
    if result.stops_left_out:
        text.append("the recorded stop for saturation is left out: these filters accept more")
    return "\n".join([*text, NOT_THE_SAME])
