"""The counts of a journal. They add up, which shows that no step loses anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from selfinstruct.records import Tags
from selfinstruct.run import lines
from selfinstruct.run.answer_scores import Scorer
from selfinstruct.run.control_lines import Stop
from selfinstruct.run.task_tags import Tagger, histograms
from selfinstruct.run.usage import KINDS

if TYPE_CHECKING:
    from selfinstruct.run.state import RunState


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """The number of requests of one kind, by outcome; `asked_again`: those of the failed that were made once more."""

    committed: int
    failed: int
    asked_again: int = 0


@dataclass(frozen=True, slots=True)
class CandidateCounts:
    """The number of candidates, by decision: total = accepted + rejected.

    `reasons` counts the rejected ones by reason, the most frequent first.
    """

    total: int
    accepted: int
    rejected: int
    reasons: dict[str, int]


@dataclass(frozen=True, slots=True)
class ClassificationCounts:
    """The number of accepted instructions, by the answer to "is it a classification task?"."""

    yes: int
    no: int
    failed: int
    pending: int


@dataclass(frozen=True, slots=True)
class OutputCounts:
    """The number of outputs of a regenerated run: total = rewritten + unchanged + rejected + failed + pending."""

    total: int
    rewritten: int
    unchanged: int
    rejected: int
    reasons: dict[str, int]
    failed: int
    pending: int


@dataclass(slots=True)
class ProposerCounts:
    """What one proposer asked, and what came of it. The state counts with it, proposal by proposal.

    Attributes:
        asked: its proposals, failed ones included.
        failed: those that failed.
        candidates: the instructions that it proposed.
        accepted: those of them that were accepted.
        completion_tokens: of its completions.
    """

    asked: int = 0
    failed: int = 0
    candidates: int = 0
    accepted: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class AnswerCounts:
    """The number of inputs that are answered separately: total = kept + rejected + failed + pending.

    Attributes:
        total: accepted inputs.
        kept: inputs with an accepted answer.
        rejected: inputs none of whose answers was accepted.
        reasons: these by the reason of their first answer, the most frequent first.
        failed: inputs whose request failed.
        pending: inputs whose answer is still to be asked for, or to be continued.
        continued: inputs whose answer was cut and asked to go on.
    """

    total: int
    kept: int
    rejected: int
    reasons: dict[str, int]
    failed: int
    pending: int
    continued: int


@dataclass(frozen=True, slots=True)
class ScorerCounts:
    """What one scorer says about the answers of a run.

    Attributes:
        scorer: its name.
        model: what it asked; empty if it asks no model.
        version: of its question.
        scored: answers with a score.
        failed: answers without one.
        mean: of the scores; None without any.
        quartiles: the scores below which a quarter, a half and three quarters of them lie; None without any.
    """

    scorer: str
    model: str
    version: str
    scored: int
    failed: int
    mean: float | None
    quartiles: tuple[float, float, float] | None


@dataclass(frozen=True, slots=True)
class TaggerCounts:
    """What one model says the tasks of a run are about: tasks with instances = tagged + failed + pending.

    Attributes:
        model: its name.
        version: of its question.
        tagged: tasks with tags.
        failed: tasks for which its answer was none.
        pending: tasks that it was not asked about.
        values: for each kind of tag, the number of tasks by its value, the most frequent first.
    """

    model: str
    version: str
    tagged: int
    failed: int
    pending: int
    values: dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True)
class TopicCounts:
    """The number of proposals about one subject, and of the instructions that were accepted from them."""

    asked: int
    accepted: int


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """The number of tokens of all prompts and of all completions."""

    prompt: int
    completion: int


@dataclass(frozen=True, slots=True)
class RunCounts:
    """What a run has done, and what is left to do.

    Attributes:
        target: number of instructions to accept.
        stopped: the stop that is in force; None if there is none.
        complete: whether nothing is left to do.
        requests: outcomes of requests, by kind.
        failures: number of failed requests, by "kind: reason".
        candidates: candidates for instructions.
        instances: candidates for instances; accepted inputs without a decided answer are not among them.
        warnings: accepted instructions and kept instances to which a filter objects that only warns, by reason.
        classification: classifications of accepted instructions.
        answers: inputs that are answered separately; None where none was.
        outputs: outputs of a regenerated run; None for other runs.
        instructions_with_instances: number of accepted instructions that have an instance.
        tokens: tokens of all requests.
        proposers: what each proposer asked and what came of it, by its name.
        topics: what was asked about each subject, and what came of it; empty without `topics`.
        scores: what each scorer says about the answers, in the order in which they began.
        tags: what each model says the tasks are about, in the order in which they began.
    """

    target: int
    stopped: Stop | None
    complete: bool
    requests: dict[str, RequestCounts]
    failures: dict[str, int]
    candidates: CandidateCounts
    instances: CandidateCounts
    warnings: dict[str, int]
    classification: ClassificationCounts
    answers: AnswerCounts | None
    outputs: OutputCounts | None
    instructions_with_instances: int
    tokens: TokenCounts
    proposers: dict[str, ProposerCounts]
    topics: dict[str, TopicCounts]
    scores: list[ScorerCounts]
    tags: list[TaggerCounts]

    def to_json(self) -> dict[str, Any]:
        """Return the counts as JSON values. `stopped` is the line of the journal."""
        return asdict(self) | {"stopped": None if self.stopped is None else lines.to_json(self.stopped)}


def candidate_counts(accepted: int, rejected: Counter[str]) -> CandidateCounts:
    """Return the counts of candidates from the number accepted and the number rejected for each reason."""
    dropped = rejected.total()
    return CandidateCounts(accepted + dropped, accepted, dropped, by_count(rejected.items()))


def by_count(counts: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Return the counts, the highest first. Equal counts are sorted by name, so that equal runs print the same."""
    return dict(sorted(counts, key=lambda item: (-item[1], item[0])))


def run_counts(state: RunState) -> RunCounts:
    """Return all counts of a run."""
    there = {
        "is_task": bool(state.usage["is_task"].requests),
        "answer": bool(state.inputs),
        "output": state.header.regenerates,
        "score": bool(state.scores),
        "tags": bool(state.tags),
    }
    yes = sum(state.is_classification.values())
    return RunCounts(
        target=state.target,
        stopped=state.stopped,
        complete=state.complete,
        requests={kind: _requests(state, kind) for kind in KINDS if there.get(kind, True)},
        failures={f"{kind}: {reason}": n for (kind, reason), n in sorted(state.failures.items())},
        candidates=state.candidates(),
        instances=candidate_counts(state.num_instances, state.instances_rejected),
        warnings=by_count(state.warnings.items()),
        classification=ClassificationCounts(
            yes=yes,
            no=len(state.is_classification) - yes,
            failed=len(state.classification_failed),
            pending=sum(left.kind == "classification" for left in state.pending()),
        ),
        answers=_answers(state) if state.inputs else None,
        outputs=_outputs(state) if state.header.regenerates else None,
        instructions_with_instances=sum(1 for kept in state.instances.values() if kept),
        tokens=TokenCounts(state.prompt_tokens, state.completion_tokens),
        proposers={name: replace(state.proposers[name]) for name in sorted(state.proposers)},
        topics={
            subject: TopicCounts(state.topics[subject, "asked"], state.topics[subject, "accepted"])
            for subject in sorted({subject for subject, _ in state.topics})
        },
        scores=[_scorer(scorer, list(values.values())) for scorer, values in state.scores.items()],
        tags=[_tagger(state, tagger, known) for tagger, known in state.tags.items()],
    )


def _requests(state: RunState, kind: str) -> RequestCounts:
    usage = state.usage[kind]
    return RequestCounts(usage.committed, usage.failed, state.tries.asked_again[kind])


def _answers(state: RunState) -> AnswerCounts:
    kept = sum(bool(kept) for answers in state.answers.values() for kept in answers.values())
    return AnswerCounts(
        total=state.num_inputs,
        kept=kept,
        rejected=state.answers_rejected.total(),
        reasons=by_count(state.answers_rejected.items()),
        failed=state.usage["answer"].failed - state.tries.asked_again["answer"],
        pending=state.num_inputs - state.num_answers,
        continued=state.answers_continued,
    )


def _scorer(scorer: Scorer, values: Sequence[float | None]) -> ScorerCounts:
    known = sorted(value for value in values if value is not None)
    return ScorerCounts(
        scorer=scorer.name,
        model=scorer.model,
        version=scorer.version,
        scored=len(known),
        failed=len(values) - len(known),
        mean=round(sum(known) / len(known), 4) if known else None,
        quartiles=(known[len(known) // 4], known[len(known) // 2], known[3 * len(known) // 4]) if known else None,
    )


def _tagger(state: RunState, tagger: Tagger, known: Mapping[str, Tags | None]) -> TaggerCounts:
    of_tasks = {name: known[name] for name, kept in state.instances.items() if kept and name in known}
    tagged = [tags for tags in of_tasks.values() if tags is not None]
    return TaggerCounts(
        model=tagger.model,
        version=tagger.version,
        tagged=len(tagged),
        failed=len(of_tasks) - len(tagged),
        pending=sum(1 for kept in state.instances.values() if kept) - len(of_tasks),
        values=histograms(tagged),
    )


def _outputs(state: RunState) -> OutputCounts:
    return OutputCounts(
        total=state.num_instances,
        rewritten=state.outputs_kept["rewritten"],
        unchanged=state.outputs_kept["unchanged"],
        rejected=state.outputs_rejected.total(),
        reasons=by_count(state.outputs_rejected.items()),
        failed=state.usage["output"].failed,
        pending=len(state.outputs_left()),
    )
