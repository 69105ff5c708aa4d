"""The counts of a journal. They add up, which shows that no step loses anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from selfinstruct.run import lines
from selfinstruct.run.control_lines import Stop


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
