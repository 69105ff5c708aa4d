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
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, assert_never, get_args

import msgspec

from selfinstruct.config.earlier_defaults import completed
from selfinstruct.config.load import dump_yaml
from selfinstruct.config.schema import Filters, Keep
from selfinstruct.config.scoring import Scores
from selfinstruct.config.stopping import Saturation
from selfinstruct.engines.base import Request
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.errors import ConfigError, EngineError, InputError
from selfinstruct.formats import jsonl, seed_tasks
from selfinstruct.formats.evaluation_tasks import EvaluationText
from selfinstruct.generation import stop_rules
from selfinstruct.generation.instance_decisions import decide_inputs
from selfinstruct.generation.instance_parsing import ParsedInstance
from selfinstruct.generation.kept_samples import choose
from selfinstruct.generation.material import evaluation_texts
from selfinstruct.generation.method import Method
from selfinstruct.generation.parsing import fault_of
from selfinstruct.generation.proposal_parsing import ProposedText
from selfinstruct.generation.score_bounds import ScoreBounds
from selfinstruct.generation.steps import Steps
from selfinstruct.novelty import NoveltyIndex
from selfinstruct.records import Instruction, Rejection
from selfinstruct.replay.refilter_result import CandidateMoves, FollowUps, InstanceMoves, RefilterResult
from selfinstruct.run import answer_scores, evaluation_record, lines, ownership, parents
from selfinstruct.run.answer_scores import Place
from selfinstruct.run.control_lines import BudgetUsedUp, DeadlineReached, Interruption, Resumed, Saturated, TargetRaised
from selfinstruct.run.counting import run_counts
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.journal import read_lines, read_raw_lines
from selfinstruct.run.lines import (
    AnswerLine,
    ClassificationLine,
    Header,
    InstanceCandidate,
    InstancesLine,
    InstructionCandidate,
    Line,
    OutputLine,
    ProposalLine,
    RefilteredFrom,
    ScoreLine,
    TagsLine,
)
from selfinstruct.run.state import NO_HEADER, FollowUpKind, RunState, replay

_NO_LIMIT = 1 << 60


def refilter(
    run_dir: Path,
    output: Path,
    filters: Filters,
    keep: Keep | None = None,
    scores: Scores | None = None,
    *,
    replace: bool = False,
) -> RefilterResult:
    """Write a new run in `output` with the candidates of the run in `run_dir`, decided again by `filters`.

    Args:
        run_dir: the recorded run; another process may be writing it. What it has committed so far is read.
        output: the new run directory; must not hold a run.
        filters: all filters, also those that stay as they were.
        keep: which of several answers are kept (`answer.keep`); None: as recorded.
        scores: what the scores of answers must reach; None: as recorded.
        replace: whether the run in `output` is replaced, which the caller has made so before.

    Raises:
        InputError: no run, a damaged journal, a regenerated run, or seeds that have changed.
        ConfigError: `output` already holds a run, or files that a run would write over; nobody has scored the answers
            that are to be chosen by their scores.
        RunLockedError: another process writes `output`.
    """
    source, new = RunDirectory(run_dir), RunDirectory(output)
    source.require_journal()
    if new.journal.exists() and not replace:
        raise ConfigError(f"{output} already holds a run; give another directory with -o")
    header = _header_of(source)
    recorded = source.config()
    tasks = seed_tasks.load_unchanged_seed_tasks(recorded.seeds, header.identity["seeds_sha256"])
    of_parents = parents.load_unchanged_parents(recorded.parent_runs, header.identity).instructions
    if filters.is_task != "off" and completed(header.identity)["filters"]["is_task"] == "off":
        raise ConfigError(f"filters.is_task: {filters.is_task}: {run_dir} never asked which instructions are tasks")
    answer = recorded.answer.model_copy(update={"keep": keep or recorded.answer.keep})
    by_score = scores or recorded.scores
    decisive = {"filters": filters, "answer": answer, "scores": by_score}
    config = recorded.model_copy(update={**decisive, "output_dir": str(output)})
    style = header.resolved["style"]
    evaluation = evaluation_texts(filters, config.evaluate, source.evaluation_tasks, header.identity)
    steps = Steps(Method.of(config), tasks, tasks, ScriptedEngine(_refuse_request), style, of_parents, evaluation)
    steps.calibration = header.calibration
    redecision = _Redecision(source, steps, config.saturation, evaluation, by_score)
    with new.locked_anew():
        if not replace:
            ownership.require_free(new)
        with jsonl.atomic_path(new.journal) as temporary:
            with temporary.open("wb") as stream:
                redecision.write(stream)
            if evaluation:
                evaluation_record.write_evaluation_texts(new.evaluation_tasks, evaluation)
            target = {"num_instructions": redecision.new.target}
            jsonl.write_text(new.config_path, dump_yaml(config.model_copy(update=target)))
    before, now = completed(header.identity)["filters"], filters.model_dump(mode="json")
    changed = {name: (before.get(name), value) for name, value in now.items() if before.get(name) != value}
    before, now = completed(header.identity)["scores"], by_score.model_dump(mode="json")
    changed |= {f"scores.{name}": (before[name], value) for name, value in now.items() if before[name] != value}
    if answer.keep != recorded.answer.keep:
        changed["answer.keep"] = recorded.answer.keep, answer.keep
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
        scores: what the scores of answers must reach.

    Attributes:
        old: the state of the recorded run.
        new: the state of the new run.
    """

    def __init__(
        self,
        source: RunDirectory,
        steps: Steps,
        saturation: Saturation,
        evaluation: list[EvaluationText],
        scores: Scores,
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
        self._scores = scores
        self._bounds: ScoreBounds | None = None
        if scores.any_bound or steps.method.answer.keep == "best":
            self._bounds = ScoreBounds.of(scores, _scores_in(source.journal, self._num_lines))
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
        counts, all_counts = self._counts, run_counts(self.new)
        bounds = self._bounds.by_name if self._bounds else {}
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
            scorer=self._bounds.scorer if self._bounds else "",
            bounds={name: (str(getattr(self._scores, name)), score) for name, score in bounds.items()},
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
            case ScoreLine():
                if self.new.holds_answer(line.id, line.instance):
                    return line
                self._counts["score left out"] += 1
                return None
            case TagsLine():
                if line.id in self._accepted:
                    return line
                self._counts["tags left out"] += 1
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
        if "scores" in identity or self._scores.any_bound:
            identity["scores"] = self._scores.model_dump(mode="json")
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
        if self._bounds is not None:
            values = self._values(line.id, len(decided))
            decided = tuple(choose([one], "all", [v], self._bounds)[0] for one, v in zip(decided, values, strict=True))
        self._count_moves(line.candidates, decided)
        return msgspec.structs.replace(line, candidates=decided)

    def _answer(self, line: AnswerLine) -> AnswerLine:
        thinking = [candidate.thinking for candidate in line.candidates]
        text = self._accepted[line.id].text
        values = self._values(line.id, len(thinking), line.instance)
        decided = self._steps.answering.decide_read(
            text, _parsed(line.candidates), thinking, line.constraints, scores=values, bounds=self._bounds
        )
        self._count_moves(line.candidates, decided)
        return msgspec.structs.replace(line, candidates=decided)

    def _values(self, name: str, number: int, instance: int | None = None) -> list[float | None]:
        """Return the scores of candidates, by which some are to go: of samples of one answer, or of instances."""
        known = {} if self._bounds is None else self._bounds.values
        places = (Place(name, k, 0) if instance is None else Place(name, instance, k) for k in range(number))
        return [known.get(place) for place in places]

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


def _scores_in(journal: Path, number: int) -> answer_scores.Scores:
    """Return the scores in the first lines of a journal: they come after the answers that they decide about."""
    scores: answer_scores.Scores = {}
    for line in islice(read_lines(journal, live=True), number):
        if isinstance(line, ScoreLine):
            answer_scores.note(scores, line)
    return scores


def _count_lines(path: Path) -> int:
    with path.open("rb") as stream:
        return sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))
