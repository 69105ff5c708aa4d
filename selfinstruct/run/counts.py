"""What a journal counts, as values: they add up, so that nothing is lost between two steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from selfinstruct.run import lines
from selfinstruct.run.lines import Stop


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """Requests of one kind by outcome."""

    committed: int
    failed: int


@dataclass(frozen=True, slots=True)
class CandidateCounts:
    """Candidates by decision: total = accepted + rejected; `reasons` counts the rejected, the most frequent first."""

    total: int
    accepted: int
    rejected: int
    reasons: dict[str, int]


@dataclass(frozen=True, slots=True)
class ClassificationCounts:
    """Accepted instructions by the answer to "is it a classification task?"."""

    yes: int
    no: int
    failed: int
    pending: int


@dataclass(frozen=True, slots=True)
class OutputCounts:
    """Outputs of a regenerated run: total = rewritten + unchanged + rejected + failed + pending."""

    total: int
    rewritten: int
    unchanged: int
    rejected: int
    reasons: dict[str, int]
    failed: int
    pending: int


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens of all prompts and of all completions."""

    prompt: int
    completion: int


@dataclass(frozen=True, slots=True)
class RunCounts:
    """What a run has and what it has left.

    Attributes:
        target: instructions to accept.
        stopped: the stop in force.
        complete: whether nothing is left to do.
        requests: by kind.
        failures: failed requests by "kind: reason".
        candidates: of instructions.
        instances: candidates of instances.
        classification: of accepted instructions.
        outputs: of a regenerated run; None for others.
        instructions_with_instances: accepted instructions that have an instance.
        tokens: of all requests.
    """

    target: int
    stopped: Stop | None
    complete: bool
    requests: dict[str, RequestCounts]
    failures: dict[str, int]
    candidates: CandidateCounts
    instances: CandidateCounts
    classification: ClassificationCounts
    outputs: OutputCounts | None
    instructions_with_instances: int
    tokens: TokenCounts

    def to_json(self) -> dict[str, Any]:
        """Return the counts as JSON values; `stopped` is the journal's line."""
        return asdict(self) | {"stopped": None if self.stopped is None else lines.to_json(self.stopped)}


def candidate_counts(accepted: int, rejected: Counter[str]) -> CandidateCounts:
    """Return the counts of candidates, from those accepted and the reasons of the rejected."""
    dropped = rejected.total()
    return CandidateCounts(accepted + dropped, accepted, dropped, by_count(rejected.items()))


def by_count(counts: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Return the counts, the most frequent first; ties by name, so that equal runs print the same."""
    return dict(sorted(counts, key=lambda item: (-item[1], item[0])))
