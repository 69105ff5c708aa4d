"""`selfinstruct explain`: why a candidate was accepted or rejected, read from the journal.

    >>> explain(Path("runs/first"), "Name three rivers of Africa.").candidates[0].reason
    'near_duplicate'

The recorded decision is shown with its evidence and never made again. The nearest earlier texts are computed from the
journal by the same exact ROUGE-L F.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, assert_never

import msgspec

from selfinstruct.errors import InputError
from selfinstruct.generation.filters import heuristics
from selfinstruct.generation.parsing import one_line
from selfinstruct.records import Completion, Constraint, Tags
from selfinstruct.replay.similar import EarlierInstructions, Similar
from selfinstruct.run.control_lines import Control
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.journal import read_lines
from selfinstruct.run.lines import (
    AnswerLine,
    ClassificationLine,
    Failure,
    Header,
    InstanceCandidate,
    InstancesLine,
    InstructionCandidate,
    Line,
    OutputLine,
    ProposalLine,
    ScoreLine,
    TagsLine,
    WrittenInstance,
)
from selfinstruct.run.state import RunState, replay

_CANDIDATE_ID = re.compile(r"p\d{6,}-\d{2,}")


@dataclass(frozen=True, slots=True)
class Example:
    """An instruction that a proposal's prompt showed; `instruction` is None when the journal does not hold its text."""

    id: str
    instruction: str | None


@dataclass(frozen=True, slots=True)
class ClassificationAnswer:
    """The classification of an accepted instruction.

    Attributes:
        journal_line: number of its line in the journal, from 1.
        failed: why the request failed; None when it did not.
        answer: the model's answer; None when there was none.
        is_classification: the decision; None when the request failed.
    """

    journal_line: int
    failed: Failure | None
    answer: Completion | None
    is_classification: bool | None


@dataclass(frozen=True, slots=True)
class InstancesAnswer:
    """The instances of an accepted instruction.

    Attributes:
        journal_line: number of its line in the journal, from 1.
        failed: why the request failed; None when it did not.
        answer: the model's answer; None when there was none.
        form: `input_first` or `output_first`.
        candidates: the instances with the decisions about them.
    """

    journal_line: int
    failed: Failure | None
    answer: Completion | None
    form: str | None
    candidates: tuple[InstanceCandidate, ...]


@dataclass(frozen=True, slots=True)
class InputAnswer:
    """The answer to one input, or the beginning of it.

    Attributes:
        journal_line: number of its line in the journal, from 1.
        instance: number of the input, from 0.
        failed: why the request failed; None when it did not.
        answer: the model's answer; None when there was none.
        to_be_continued: whether it was cut, and a further answer goes on with it.
        candidates: the instance with the decision about it; empty when the request failed or the answer goes on.
        constraints: what was demanded of it beside the instruction.
    """

    journal_line: int
    instance: int
    failed: Failure | None
    answer: Completion | None
    to_be_continued: bool
    candidates: tuple[InstanceCandidate, ...]
    constraints: tuple[Constraint, ...] = ()


@dataclass(frozen=True, slots=True)
class OutputAnswer:
    """A rewritten output of one instance.

    Attributes:
        journal_line: number of its line in the journal, from 1.
        instance: number of the instance, from 0.
        failed: why the request failed; None when it did not.
        answer: the model's answer; None when there was none.
        candidates: the new output with the decision about it; empty when the request failed.
    """

    journal_line: int
    instance: int
    failed: Failure | None
    answer: Completion | None
    candidates: tuple[InstanceCandidate, ...]


@dataclass(frozen=True, slots=True)
class AnswerScore:
    """What a scorer says about an answer.

    Attributes:
        journal_line: number of its line in the journal, from 1.
        instance: number of the input, from 0.
        sample: which of the answers to it, from 0.
        scorer: its name.
        model: what it asked, if it asked a model.
        value: the score; None when it failed.
        failed: why it failed; None when it did not.
        answer: the model's answer; None when no model was asked, or failed.
    """

    journal_line: int
    instance: int
    sample: int
    scorer: str
    model: str
    value: float | None
    failed: Failure | None
    answer: Completion | None


@dataclass(frozen=True, slots=True)
class TagsAnswer:
    """What a model says an accepted instruction is about.

    Attributes:
        journal_line: number of its line in the journal, from 1.
        model: its name.
        tags: what it says; None when the request failed.
        failed: why it failed; None when it did not.
        answer: the model's answer; None when there was none.
    """

    journal_line: int
    model: str
    tags: Tags | None
    failed: Failure | None
    answer: Completion | None


@dataclass(frozen=True, slots=True)
class ExplainedCandidate:
    """A candidate as the journal recorded it.

    Attributes:
        id: `p<proposal>-<position>`.
        instruction: its text.
        accepted: whether it entered the pool.
        reason: why it was rejected; None when it was accepted.
        evidence: what decided; of an accepted one the nearest text, as `nearest_seed`.
        journal_line: number of its proposal's line in the journal, from 1.
        proposal: number of its proposal, from 0.
        proposer: the name of the way in which it was asked.
        variant: which of the proposer's ways, if it has several.
        topic: the subject that the proposal asked for; empty: any.
        user: who was to ask about it.
        depth: how often the text was changed from a first task.
        examples: what the proposal's prompt showed.
        similar: the most similar of all earlier instructions, the best first.
        classification: of an accepted one; None while it is pending.
        instances: of an accepted one; None while they are pending.
        answers: to inputs that are answered separately.
        outputs: rewritten outputs, in a regenerated run.
        scores: of its answers.
        tags: what models say it is about.
        is_whole: whether no request asks about its kind or its inputs.
        begun: what the prompt wrote of it.
        instance: the instance that it was proposed with, if it was.
    """

    id: str
    instruction: str
    accepted: bool
    reason: str | None
    evidence: dict[str, Any] | None
    journal_line: int
    proposal: int
    proposer: str
    variant: str
    topic: str
    user: str
    depth: int
    examples: tuple[Example, ...]
    similar: tuple[Similar, ...]
    classification: ClassificationAnswer | None
    instances: InstancesAnswer | None
    answers: tuple[InputAnswer, ...]
    outputs: tuple[OutputAnswer, ...]
    scores: tuple[AnswerScore, ...]
    tags: tuple[TagsAnswer, ...]
    is_whole: bool
    begun: str
    instance: WrittenInstance | None


@dataclass(frozen=True, slots=True)
class SeedText:
    """A seed task with the text or id that was asked for."""

    id: str
    instruction: str


@dataclass(frozen=True, slots=True)
class PresentDecision:
    """What the filters decide about a text after everything that the run has accepted.

    Attributes:
        accepted: whether they accept it.
        reason: why they reject it; None when they accept it.
        evidence: what decided.
        similar: the most similar instructions, the best first.
    """

    accepted: bool
    reason: str | None
    evidence: dict[str, Any]
    similar: tuple[Similar, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that a run knows about one text.

    Attributes:
        query: the text or id that was asked for.
        candidates: the candidates with this id or exactly this text, in order of proposal.
        seed: the seed task with this id or text; None when there is none.
        now: the present decision about a text that is neither a candidate nor a seed; else None.
    """

    query: str
    candidates: tuple[ExplainedCandidate, ...]
    seed: SeedText | None
    now: PresentDecision | None


def explain(run_dir: Path, query: str, *, top: int = 1) -> Explanation:
    """Return everything that the run knows about one text.

    Args:
        run_dir: the run directory; another process may be writing it.
        query: an instruction, or a candidate's id (`p000012-03`). All whitespace counts as single spaces.
        top: similar instructions to list with each candidate, at least 1.

    Raises:
        InputError: no run, a damaged journal, seeds or parent runs that have changed, an id that the run does not hold,
            or the id of a parent run's instruction.
    """
    run = RunDirectory(run_dir)
    run.require_journal()
    search = _Search(one_line(query))
    state = search.read(run.journal)
    earlier = EarlierInstructions.load(run, state)
    seed = next((s for s in earlier.seeds if search.query in (s.id, one_line(s.instruction))), None)
    known = bool(search.matches) or seed is not None
    if any(search.query == instruction.id for instruction in earlier.of_parents):
        raise InputError(f"{run_dir}: {search.query} belongs to a parent run; explain it there, without the run's name")
    if not known and _CANDIDATE_ID.fullmatch(search.query):
        raise InputError(
            f"{run_dir}: no candidate {search.query}; the run's last proposal is p{state.proposals - 1:06d}"
        )
    texts = _example_texts(run.journal, search.matches, earlier)
    return Explanation(
        query=query,
        candidates=tuple(_explained(match, earlier, texts, top) for match in search.matches),
        seed=None if seed is None else SeedText(seed.id, seed.instruction),
        now=None if known else _decide_now(search.query, earlier, top),
    )


@dataclass
class _Match:
    """A candidate that was asked for.

    Attributes:
        journal_line: number of its proposal's line.
        line: that line.
        position: the candidate's position in it.
        accepted_before: instructions that were accepted before it.
        classification, instances, answers, outputs: the lines about it that came later.
    """

    journal_line: int
    line: ProposalLine
    position: int
    accepted_before: int
    classification: ClassificationAnswer | None = None
    instances: InstancesAnswer | None = None
    answers: list[InputAnswer] = field(default_factory=list)
    outputs: list[OutputAnswer] = field(default_factory=list)
    scores: list[AnswerScore] = field(default_factory=list)
    tags: list[TagsAnswer] = field(default_factory=list)

    @property
    def candidate(self) -> InstructionCandidate:
        return self.line.candidates[self.position]


class _Search:
    """One reading of the journal, for the candidates with one id or text."""

    def __init__(self, query: str) -> None:
        self.query = query
        self._by_id: dict[str, _Match] = {}
        self._accepted = 0

    @property
    def matches(self) -> list[_Match]:
        return list(self._by_id.values())

    def read(self, journal: Path) -> RunState:
        """Read the journal, which another process may be writing; return the run's state."""
        return replay(self._watch(read_lines(journal, live=True)), journal)

    def _watch(self, journal: Iterable[Line]) -> Iterator[Line]:
        for number, line in enumerate(journal, 1):
            yield line  # `replay` has accepted it when it asks for the next.
            self._note(number, line)

    def _note(self, number: int, line: Line) -> None:
        match line:
            case ProposalLine():
                self._note_proposal(number, line)
            case ClassificationLine():
                if (known := self._by_id.get(line.id)) is not None:
                    answer = ClassificationAnswer(number, line.failed, line.completion, line.is_classification)
                    known.classification = answer
            case InstancesLine():
                if (known := self._by_id.get(line.id)) is not None:
                    known.instances = InstancesAnswer(number, line.failed, line.completion, line.form, line.candidates)
            case AnswerLine():
                if (known := self._by_id.get(line.id)) is not None:
                    known.answers.append(
                        InputAnswer(
                            number,
                            line.instance,
                            line.failed,
                            line.completion,
                            line.to_be_continued,
                            line.candidates,
                            line.constraints,
                        )
                    )
            case OutputLine():
                if (known := self._by_id.get(line.id)) is not None:
                    output = OutputAnswer(number, line.instance, line.failed, line.completion, line.candidates)
                    known.outputs.append(output)
            case ScoreLine():
                if (known := self._by_id.get(line.id)) is not None:
                    about = line.instance, line.sample, line.scorer, line.model
                    known.scores.append(AnswerScore(number, *about, line.value, line.failed, line.completion))
            case TagsLine():
                if (known := self._by_id.get(line.id)) is not None:
                    known.tags.append(TagsAnswer(number, line.model, line.tags, line.failed, line.completion))
            case Header() | Control():
                pass
            case _ as never:
                assert_never(never)

    def _note_proposal(self, number: int, line: ProposalLine) -> None:
        for position, candidate in enumerate(line.candidates):
            if self.query in (candidate.id, candidate.instruction):
                self._by_id[candidate.id] = _Match(number, line, position, self._accepted)
            self._accepted += candidate.accepted


def _explained(match: _Match, earlier: EarlierInstructions, texts: dict[str, str], top: int) -> ExplainedCandidate:
    candidate = match.candidate
    nearest = msgspec.to_builtins(candidate.nearest_seed or None)  # A rejected one has none.
    return ExplainedCandidate(
        id=candidate.id,
        instruction=candidate.instruction,
        accepted=candidate.accepted,
        reason=candidate.reason,
        evidence={"nearest_seed": nearest} if candidate.accepted else candidate.evidence,
        journal_line=match.journal_line,
        proposal=match.line.n,
        proposer=match.line.proposer,
        variant=match.line.variant,
        topic=match.line.topic,
        user=match.line.user,
        depth=match.line.depth,
        examples=tuple(Example(name, texts.get(name)) for name in match.line.examples),
        similar=earlier.similar(candidate.instruction, top, match.accepted_before),
        classification=match.classification,
        instances=match.instances,
        answers=tuple(match.answers),
        outputs=tuple(match.outputs),
        scores=tuple(match.scores),
        tags=tuple(match.tags),
        is_whole=match.line.without_input or candidate.instance is not None,
        begun=match.line.begun,
        instance=candidate.instance,
    )


def _example_texts(journal: Path, matches: Sequence[_Match], earlier: EarlierInstructions) -> dict[str, str]:
    """Return the texts of the examples that the prompts showed, by id.

    After `refilter` an example need not be in the pool: then it is looked up among all candidates.
    """
    wanted = {name for match in matches for name in match.line.examples}
    texts = {name: text for name, text in earlier.texts().items() if name in wanted}
    if wanted - texts.keys():
        for line in read_lines(journal, live=True):
            for candidate in line.candidates if isinstance(line, ProposalLine) else ():
                if candidate.id in wanted:
                    texts.setdefault(candidate.id, candidate.instruction)
    return texts


def _decide_now(text: str, earlier: EarlierInstructions, top: int) -> PresentDecision:
    """Decide about a text after everything that the run has accepted."""
    similar = earlier.similar(text, top, len(earlier.pool))
    rejection = heuristics(earlier.filters, [seed.instruction for seed in earlier.seeds], earlier.frame)(text)
    if rejection is not None:
        return PresentDecision(False, rejection.reason, rejection.evidence, similar)
    verdict = earlier.index.accept(text)
    if verdict.accepted or verdict.nearest is None:
        return PresentDecision(True, None, {}, similar)
    nearest = earlier.entry(*verdict.nearest)
    return PresentDecision(False, verdict.reason, {"nearest": {"id": nearest.id, "score": nearest.score}}, similar)
