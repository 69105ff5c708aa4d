"""The state that a journal's lines give: the pool, what is left to do, and the counts.

The state is rebuilt by reading the journal. Both replay and the running pipeline use `RunState.apply`, which takes one
line. So a resumed run has the same state as the interrupted one. `apply` only repeats recorded decisions.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, assert_never

from msgspec import structs

from selfinstruct.errors import InputError
from selfinstruct.gc_paused import gc_paused
from selfinstruct.records import Completion, Instance, Instruction, Task
from selfinstruct.run import answer_scores, task_tags
from selfinstruct.run.answer_scores import Scores
from selfinstruct.run.control_lines import (
    BudgetUsedUp,
    ControlLine,
    DeadlineReached,
    Interruption,
    Resumed,
    Saturated,
    Stop,
    TargetRaised,
)
from selfinstruct.run.counts import (
    CandidateCounts,
    ProposerCounts,
    candidate_counts,
)
from selfinstruct.run.degenerate import degenerate
from selfinstruct.run.journal import offset_of
from selfinstruct.run.lines import (
    VERSION,
    AnswerLine,
    ClassificationLine,
    Header,
    InstancesLine,
    Line,
    OutputLine,
    ProposalLine,
    RequestLine,
    ScoreLine,
    TagsLine,
    Verdict,
)
from selfinstruct.run.task_tags import AllTags
from selfinstruct.run.tries import FollowUpLine, Tries
from selfinstruct.run.usage import Usage, usage_by_kind

FollowUpKind = Literal["classification", "instances", "answer"]


class FollowUp(NamedTuple):
    """A request about an accepted instruction; `number` is that of the input, if it asks for an answer."""

    kind: FollowUpKind
    instruction: Instruction
    number: int = 0


NO_HEADER = Header(VERSION, {}, {}, 0)
"""The header of a state before the first line."""


@dataclass
class RunState:
    """The state of a run after some lines of its journal.

    Attributes:
        header: the first line; `NO_HEADER` before it.
        target: number of instructions to accept.
        pool: accepted instructions, in order of acceptance.
        by_id: the same by their ids.
        pool_after: `pool_after[n]` is the pool's size after proposal n.
        is_classification: the classification by instruction id, if it is known; instructions without input have none.
        instances: kept instances by instruction id; an empty list if none was kept or the request failed. Where inputs
            are answered separately, an instance is added when its answer is accepted.
        inputs: accepted inputs by instruction id and number, where they are answered separately.
        answers: by instruction id: the kept answers to each input by its number; none if all were rejected or failed.
        begun_answers: the beginnings of answers that are to be continued, by (instruction id, number of the input).
        num_inputs, num_answers: number of these inputs, and of their decided answers.
        num_whole: number of accepted instructions that no request asks about the kind or the inputs of.
        num_instances: number of kept instances of all instructions.
        classification_failed: ids whose classification failed; they get no instances.
        usage: requests and tokens by kind of request.
        rejected: number of rejected instruction candidates by reason.
        instances_rejected: number of rejected instance candidates by reason; of inputs and of answers, too.
        answers_rejected: number of inputs none of whose answers was accepted, by the reason of the first one.
        answers_continued: number of answers that were cut and asked to go on.
        warnings: number of accepted instructions, kept instances and rewritten outputs to which a filter objects that
            only warns, by reason.
        failures: number of failed requests by (kind, reason), those that were asked again included.
        tries: follow-ups that failed and are asked again.
        proposers: what each proposer asked and what came of it, by its name.
        proposed_by: for each proposal, its proposer.
        tokens_spent: for each proposal, the completion tokens of it and of the follow-ups of its instructions.
        topics: numbers of proposals and of accepted instructions by (subject, "asked" | "accepted").
        candidates_after: `candidates_after[n]` is the number of candidates up to proposal n.
        degenerate: for each proposal, what is wrong with its completion (see `run/degenerate.py`); usually empty.
        completions_seen: hashes of the proposals' completions.
        outputs_done: (instruction id, number of the instance) of the instances whose output was requested again.
        outputs_kept: number of accepted new outputs, "rewritten" or "unchanged".
        outputs_rejected: number of rejected new outputs by reason. The old outputs stay.
        scores: what scorers say about answers; it decides nothing here (see `selfinstruct/replay/refilter.py`).
        tags: what models say the tasks are about; it decides nothing here either.
        stopped: the stop that is in force, or None.
        interruption: the last line, if a signal ended the program there; None otherwise.
        resumed_after: number of proposals committed when the last stop for saturation ended; 0 if there was none.
    """

    header: Header = NO_HEADER
    target: int = 0
    pool: list[Instruction] = field(default_factory=list)
    by_id: dict[str, Instruction] = field(default_factory=dict)
    pool_after: list[int] = field(default_factory=list)
    is_classification: dict[str, bool] = field(default_factory=dict)
    instances: dict[str, list[Instance]] = field(default_factory=dict)
    inputs: dict[str, dict[int, str]] = field(default_factory=dict)
    answers: dict[str, dict[int, tuple[Instance, ...]]] = field(default_factory=dict)
    begun_answers: dict[tuple[str, int], Completion] = field(default_factory=dict)
    num_inputs: int = 0
    num_answers: int = 0
    num_whole: int = 0
    num_instances: int = 0
    classification_failed: set[str] = field(default_factory=set)
    usage: dict[str, Usage] = field(default_factory=usage_by_kind)
    rejected: Counter[str] = field(default_factory=Counter)
    instances_rejected: Counter[str] = field(default_factory=Counter)
    warnings: Counter[str] = field(default_factory=Counter)
    answers_rejected: Counter[str] = field(default_factory=Counter)
    answers_continued: int = 0
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    tries: Tries = field(default_factory=Tries)
    proposers: dict[str, ProposerCounts] = field(default_factory=lambda: defaultdict(ProposerCounts))
    proposed_by: list[str] = field(default_factory=list)
    tokens_spent: list[int] = field(default_factory=list)
    topics: Counter[tuple[str, str]] = field(default_factory=Counter)
    candidates_after: list[int] = field(default_factory=list)
    degenerate: list[str] = field(default_factory=list)
    completions_seen: set[int] = field(default_factory=set)
    outputs_done: set[tuple[str, int]] = field(default_factory=set)
    outputs_kept: Counter[str] = field(default_factory=Counter)
    outputs_rejected: Counter[str] = field(default_factory=Counter)
    scores: Scores = field(default_factory=dict)
    tags: AllTags = field(default_factory=dict)
    stopped: Stop | None = None
    interruption: Interruption | None = None
    resumed_after: int = 0

    @property
    def begun(self) -> bool:
        """Return whether the header has been read. Without a header the directory holds no run."""
        return self.header is not NO_HEADER

    @property
    def proposals(self) -> int:
        """Return the number of committed proposals, which is also the number of the next proposal to commit."""
        return len(self.pool_after)

    @property
    def prompt_tokens(self) -> int:
        """Return the number of prompt tokens of all requests."""
        return sum(usage.prompt_tokens for usage in self.usage.values())

    @property
    def completion_tokens(self) -> int:
        """Return the number of completion tokens of all requests."""
        return sum(usage.completion_tokens for usage in self.usage.values())

    @property
    def complete(self) -> bool:
        """Return whether the target is reached and no request about an accepted instruction is left."""
        enough = self.begun and len(self.pool) >= self.target
        return enough and not self.pending() and not self.outputs_left()

    def pending(self) -> list[FollowUp]:
        """Return the follow-up requests still to make, in order of acceptance."""
        return [left for instruction in self.pool for left in self.follow_ups(instruction)]

    def follow_ups(self, instruction: Instruction) -> list[FollowUp]:
        """Return the follow-up requests about an accepted instruction that can be made now."""
        if instruction.id in self.instances:
            return [FollowUp("answer", instruction, number) for number in self.unanswered(instruction.id)]
        if instruction.id in self.classification_failed:
            return []
        known = instruction.id in self.is_classification
        return [FollowUp("instances" if known else "classification", instruction)]

    def unanswered(self, instruction_id: str) -> list[int]:
        """Return the numbers of the inputs of an instruction whose answers are not decided yet."""
        return [n for n in self.inputs.get(instruction_id, ()) if n not in self.answers[instruction_id]]

    def is_settled(self, instruction_id: str) -> bool:
        """Return whether no follow-up request about an accepted instruction is left."""
        if instruction_id in self.instances:
            return not self.unanswered(instruction_id)
        return instruction_id in self.classification_failed

    def outputs_left(self) -> list[tuple[Instruction, int, Instance]]:
        """Return the outputs still to be rewritten, as (instruction, number of the instance, instance)."""
        if not self.header.regenerates:
            return []
        return [
            (instruction, number, instance)
            for instruction in self.pool
            for number, instance in enumerate(self.instances.get(instruction.id, ()))
            if (instruction.id, number) not in self.outputs_done
        ]

    def tasks(self) -> Iterator[Task]:
        """Yield the accepted instructions that have instances, in order of acceptance."""
        for instruction in self.pool:
            instances = self.instances.get(instruction.id)
            if instances:
                is_classification = self.is_classification.get(instruction.id, False)
                yield Task(instruction.id, instruction.text, tuple(instances), is_classification, "generated")

    # ------------------------------------------------------------------------------------------- applying lines

    def apply(self, line: Line) -> None:
        """Update the state by one journal line.

        Raises:
            ValueError: the line cannot follow the lines before it.
        """
        self.interruption = None
        match line:  # The most frequent kinds come first.
            case InstancesLine():
                self._apply_instances(line, self._count_follow_up("instances", line))
            case ClassificationLine():
                self._apply_classification(line, self._count_follow_up("classification", line))
            case ProposalLine():
                self._count_request("proposal", line)
                self._apply_proposal(line)
            case AnswerLine():
                self._count_follow_up("answer", line)
                self._apply_answer(line)
            case OutputLine():
                self._count_follow_up("output", line)
                self._apply_output(line)
            case ScoreLine():
                self._count_request("score", line)
                self._apply_score(line)
            case TagsLine():
                self._count_request("tags", line)
                self._apply_tags(line)
            case Header():
                if line.version != VERSION:
                    raise ValueError(f"it is of version {line.version}, this program reads version {VERSION}")
                self.header, self.target = line, line.num_instructions
            case _:
                self._apply_control(line)

    def _apply_control(self, line: ControlLine) -> None:
        if not -1 <= line.after_proposal < self.proposals:
            raise ValueError(f"it follows proposal {line.after_proposal} after {self.proposals} proposals")
        match line:
            case TargetRaised():
                self.target = line.num_instructions
            case Resumed():
                # After a stop at a deadline or a budget the run continues as if it had not stopped.
                if isinstance(self.stopped, Saturated):
                    self.resumed_after = self.proposals
                self.stopped = None
            case Saturated() | BudgetUsedUp() | DeadlineReached():
                self.stopped = line
            case Interruption():
                self.interruption = line  # A signal changes nothing else.
            case _ as never:
                assert_never(never)

    def _count_request(self, kind: str, line: RequestLine) -> None:
        usage, completion = self.usage[kind], line.completion
        if completion is not None:
            usage.prompt_tokens += completion.prompt_tokens
            usage.completion_tokens += completion.completion_tokens
        if line.failed is None:
            usage.committed += 1
        else:
            usage.failed += 1
            self.failures[kind, line.failed.reason] += 1

    def _count_follow_up(self, kind: str, line: FollowUpLine | OutputLine) -> Instruction | None:
        """Count the request, and return the instruction that it is about, if that was accepted."""
        self._count_request(kind, line)
        instruction = self.by_id.get(line.id)
        if instruction is not None and line.completion is not None:
            self.tokens_spent[instruction.proposal] += line.completion.completion_tokens
        return instruction

    def _count_verdict(self, verdict: Verdict) -> None:
        usage = self.usage["is_task"]
        usage.prompt_tokens += verdict.prompt_tokens
        usage.completion_tokens += verdict.completion_tokens
        if verdict.failed is None:
            usage.committed += 1
        else:
            usage.failed += 1
            self.failures["is_task", verdict.failed.reason] += 1

    def _apply_proposal(self, line: ProposalLine) -> None:
        if line.n != self.proposals:
            raise ValueError(f"it holds proposal {line.n} where {self.proposals} is due")
        for verdict in line.verdicts:
            self._count_verdict(verdict)
        accepted, rejected = 0, self.rejected
        for candidate in line.candidates:
            if candidate.accepted:
                for name in candidate.warnings:
                    self.warnings[name] += 1
                new = Instruction(candidate.id, candidate.instruction, line.n, line.depth, line.category)
                self.pool.append(new)
                self.by_id[new.id] = new
                self.num_whole += line.without_input or candidate.instance is not None
                if line.without_input:
                    self._add_inputs(candidate.id, {0: ""})
                elif (brought := candidate.instance) is not None:
                    self.instances[candidate.id] = [Instance(brought.input, brought.output)]
                    self.num_instances += 1
                accepted += 1
            else:
                rejected[candidate.reason or ""] += 1
        self.pool_after.append(len(self.pool))
        self._count_proposer(line, accepted)
        before = self.candidates_after[-1] if self.candidates_after else 0
        self.candidates_after.append(before + len(line.candidates))
        self.degenerate.append(degenerate(line, self.completions_seen))

    def _count_proposer(self, line: ProposalLine, accepted: int) -> None:
        name = line.proposer
        self.proposed_by.append(name)
        self.tokens_spent.append(line.completion.completion_tokens if line.completion else 0)
        if line.topic:
            self.topics[line.topic, "asked"] += 1
            self.topics[line.topic, "accepted"] += accepted
        counts = self.proposers[name]
        counts.asked += 1
        counts.failed += line.failed is not None
        counts.candidates += len(line.candidates)
        counts.accepted += accepted
        if line.completion is not None:
            counts.completion_tokens += line.completion.completion_tokens

    def _apply_classification(self, line: ClassificationLine, instruction: Instruction | None) -> None:
        if instruction is None:
            raise ValueError(f"it classifies {line.id}, which no proposal accepted")
        name = instruction.id  # Equal to `line.id`, but in memory already: as a key it takes no more.
        if name in self.is_classification or name in self.classification_failed:
            raise ValueError(f"it classifies {line.id} again")
        if self.tries.note(line):
            return
        if line.failed:
            self.classification_failed.add(name)
        elif line.is_classification is not None:
            self.is_classification[name] = line.is_classification

    def _apply_instances(self, line: InstancesLine, instruction: Instruction | None) -> None:
        if instruction is None or instruction.id not in self.is_classification:
            raise ValueError(f"it has instances of {line.id}, which is not classified")
        if instruction.id in self.instances:
            raise ValueError(f"it has instances of {line.id} again")
        if self.tries.note(line):
            return
        for candidate in line.candidates:
            for name in candidate.warnings:
                self.warnings[name] += 1
            if not candidate.accepted:
                self.instances_rejected[candidate.reason or ""] += 1
        if line.form == "input_only":
            accepted = (pair for pair in enumerate(line.candidates) if pair[1].accepted)
            self._add_inputs(instruction.id, {number: candidate.input for number, candidate in accepted})
        else:
            kept = [Instance(candidate.input, candidate.output) for candidate in line.candidates if candidate.accepted]
            self.instances[instruction.id] = kept
            self.num_instances += len(kept)

    def _add_inputs(self, instruction_id: str, inputs: dict[int, str]) -> None:
        """Add the inputs of an instruction, by number; each gets an answer of its own."""
        self.instances[instruction_id], self.answers[instruction_id], self.inputs[instruction_id] = [], {}, inputs
        self.num_inputs += len(inputs)

    def _apply_answer(self, line: AnswerLine) -> None:
        if line.instance not in self.inputs.get(line.id, ()):
            raise ValueError(f"it answers input {line.instance} of {line.id}, which is missing")
        if line.instance in self.answers[line.id]:
            raise ValueError(f"it answers input {line.instance} of {line.id} again")
        if self.tries.note(line):
            return
        answered_input = line.id, line.instance
        if line.to_be_continued and line.completion is not None:
            if answered_input in self.begun_answers:
                raise ValueError(f"it begins the answer to input {line.instance} of {line.id} again")
            self.begun_answers[answered_input] = line.completion
            self.answers_continued += 1
            return
        self.begun_answers.pop(answered_input, None)
        for candidate in line.candidates:
            self.warnings.update(candidate.warnings.keys())
            if not candidate.accepted:
                self.instances_rejected[candidate.reason or ""] += 1
        kept = tuple(Instance(c.input, c.output, c.thinking, line.constraints) for c in line.candidates if c.accepted)
        if line.candidates and not kept:
            self.answers_rejected[line.candidates[0].reason or ""] += 1
        self.answers[line.id][line.instance] = kept
        self.num_answers += 1
        if kept:
            # Answers arrive in any order; instances are in that of their inputs.
            self.instances[line.id] = [one for _, some in sorted(self.answers[line.id].items()) for one in some]
            self.num_instances += len(kept)

    def _apply_output(self, line: OutputLine) -> None:
        kept, number = self.instances.get(line.id, []), line.instance
        if not self.header.regenerates:
            raise ValueError("it rewrites an output in a run that rewrites none")
        if self.unanswered(line.id):
            raise ValueError(f"it rewrites an output of {line.id}, which has inputs without an answer")
        if not 0 <= number < len(kept) or (line.id, number) in self.outputs_done:
            raise ValueError(f"it rewrites instance {number} of {line.id}, which is missing or already rewritten")
        self.outputs_done.add((line.id, number))
        for candidate in line.candidates:
            if candidate.accepted:
                same = candidate.output == kept[number].output
                self.outputs_kept["unchanged" if same else "rewritten"] += 1
                kept[number] = structs.replace(kept[number], output=candidate.output, thinking=candidate.thinking)
                for name in candidate.warnings:
                    self.warnings[name] += 1
            else:
                self.outputs_rejected[candidate.reason or ""] += 1

    def holds_answer(self, instruction_id: str, number: int) -> bool:
        """Return whether the answer to an input of an instruction, or its instance with this number, is decided."""
        if instruction_id in self.inputs:
            return number in self.answers[instruction_id]
        return instruction_id in self.instances

    def _apply_score(self, line: ScoreLine) -> None:
        if not self.holds_answer(line.id, line.instance):
            raise ValueError(f"it scores an answer to input {line.instance} of {line.id}, which is missing")
        answer_scores.note(self.scores, line)

    def _apply_tags(self, line: TagsLine) -> None:
        if line.id not in self.by_id:
            raise ValueError(f"it tags {line.id}, which is missing")
        task_tags.note(self.tags, line)

    # ------------------------------------------------------------------------------------------------- counting

    def candidates(self) -> CandidateCounts:
        """Return the counts of instruction candidates."""
        return candidate_counts(len(self.pool), self.rejected)


def replay(lines: Iterable[Line], journal: Path | None = None) -> RunState:
    """Return the state after `lines`.

    Args:
        lines: the journal's.
        journal: its path, for the error's message.

    Raises:
        InputError: the lines are not the lines of one run: for example, a line is missing or occurs twice. The message
            names the line and, if the path is known, its byte offset.
    """
    state = RunState()
    with gc_paused():
        for number, line in enumerate(lines, 1):
            try:
                if (type(line) is Header) != (number == 1):  # `isinstance` takes three times as long.
                    raise ValueError("the header must be the first line, and no other")
                state.apply(line)
            except ValueError as error:
                raise _refused(number, error, journal) from error
    return state


def _refused(number: int, error: ValueError, journal: Path | None) -> InputError:
    where, run = f"journal, line {number}", "RUN"
    if journal is not None:
        where, run = f"{journal}, line {number} (byte {offset_of(journal, number)})", str(journal.parent)
    remedy = "restore the journal from a copy, or "
    if number == 1:  # No repair without a header, which says what the run is.
        remedy += "use the version of selfinstruct that made the run"
    else:
        remedy += f"let `selfinstruct repair {run}` remove the lines that do not fit"
    return InputError(f"{where}: {error}; {remedy}")
