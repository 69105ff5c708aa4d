"""Statistics of generation, from one pass over the journal: counts, samples, first words, speed.

A sample is the items whose ids have the lowest hashes: nobody chose them, and they stay the same while the run grows.
"""

from __future__ import annotations

import bisect
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Generic, TypeVar, assert_never

from selfinstruct.novelty import tokenize
from selfinstruct.records import Instance, Instruction
from selfinstruct.report.funnel import Step, funnel
from selfinstruct.run.control_lines import Control
from selfinstruct.run.counting import run_counts
from selfinstruct.run.counts import ProposerCounts, TaggerCounts, TopicCounts, by_count
from selfinstruct.run.journal import read_lines
from selfinstruct.run.lines import (
    AnswerLine,
    ClassificationLine,
    Header,
    InstanceCandidate,
    InstancesLine,
    InstructionCandidate,
    Line,
    Neighbour,
    OutputLine,
    ProposalLine,
    RequestLine,
    ScoreLine,
    TagsLine,
    kind_of,
)
from selfinstruct.run.measurements import Measurement
from selfinstruct.run.state import RunState, replay
from selfinstruct.text import shorten
from selfinstruct.text_hash import digest

T = TypeVar("T")

SAMPLES = 8
"""Accepted instructions shown."""
SAMPLES_PER_REASON = 2
"""Rejected candidates shown for each reason."""
_MOST_FREQUENT = 12
"""First words shown."""
_PAUSE_S = 60.0
"""Two measurements further apart than this belong to two sessions; a running generation writes one every 5 s."""


@dataclass(frozen=True)
class Accepted:
    """An accepted instruction with its instances; `nearest` is the id of the text most similar to it."""

    id: str
    text: str
    is_classification: bool
    instances: list[Instance]
    nearest: str
    score: float | None


@dataclass(frozen=True)
class Rejected:
    """A rejected candidate with its evidence. `near` is the text that it is similar to, where that is the reason."""

    id: str
    text: str
    evidence: dict[str, str]
    near_id: str = ""
    near: str = ""
    score: float | None = None


@dataclass(frozen=True)
class Openings:
    """The most frequent first words of the accepted instructions, and the number of different ones."""

    words: int
    distinct: int
    common: list[tuple[str, int]]


@dataclass(frozen=True)
class Pace:
    """Wall-clock measurements, in seconds of work: pauses between sessions are left out.

    `points` are (seconds, completion tokens per second, accepted); `sessions` are the seconds at which one began.
    """

    began: str
    ended: str
    seconds: float
    sessions: list[float]
    points: list[tuple[float, float, int]]


@dataclass
class GenerationStats:
    """Statistics of a run.

    Attributes:
        similarity: each accepted instruction's ROUGE-L F to its nearest text.
        proposers: counts by proposer; empty when all proposals are continued lists.
        rows_by: for each proposer, (rows kept, tokens written for each of them, follow-ups included).
        shares_over_time: each proposer's share of the proposals, in each fifth of the run.
        tags: what each model says the tasks are about.
        topics: counts by subject, those with most accepted instructions first; empty without `topics`.
        rows_on: for each subject, the same as `rows_by`.
    """

    state: RunState
    funnel: list[Step] = field(default_factory=list)
    proposers: dict[str, ProposerCounts] = field(default_factory=dict)
    rows_by: dict[str, tuple[int, float | None]] = field(default_factory=dict)
    shares_over_time: dict[str, list[float]] = field(default_factory=dict)
    topics: dict[str, TopicCounts] = field(default_factory=dict)
    rows_on: dict[str, tuple[int, float | None]] = field(default_factory=dict)
    tags: list[TaggerCounts] = field(default_factory=list)
    similarity: list[float] = field(default_factory=list)
    accepted: list[Accepted] = field(default_factory=list)
    rejected: dict[str, list[Rejected]] = field(default_factory=dict)
    rejected_instances: dict[str, list[Rejected]] = field(default_factory=dict)
    warned_instances: dict[str, list[Rejected]] = field(default_factory=dict)
    openings: list[Openings] = field(default_factory=list)
    mean_words: dict[str, float | None] = field(default_factory=dict)
    empty_inputs: int = 0
    pace: Pace | None = None


class _Sample(Generic[T]):
    """The `size` items whose names have the lowest hashes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: list[tuple[bytes, str, T]] = []

    def offer(self, name: str, item: T) -> None:
        bisect.insort(self._items, (digest(name), name, item), key=lambda entry: entry[:2])
        del self._items[self._size :]

    def items(self) -> list[T]:
        """Return the items in the order of their names, which is the order of the run."""
        return [item for _, _, item in sorted(self._items, key=lambda entry: entry[1])]


def gather_stats(journal: Path, seeds: dict[str, str], measurements: Iterable[Measurement]) -> GenerationStats:
    """Read a journal, which another process may be writing.

    Args:
        journal: its path.
        seeds: instruction by seed id, as far as known; a rejected candidate shows the text that it is similar to.
        measurements: of the run, in their order.
    """
    nearest = dict[str, Neighbour]()
    rejected: dict[str, _Sample[InstructionCandidate]] = defaultdict(lambda: _Sample(SAMPLES_PER_REASON))
    instances: dict[str, _Sample[tuple[str, InstanceCandidate]]] = defaultdict(lambda: _Sample(SAMPLES_PER_REASON))
    warned: dict[str, _Sample[tuple[str, InstanceCandidate]]] = defaultdict(lambda: _Sample(SAMPLES_PER_REASON))
    failed = Counter[tuple[str, str]]()
    topics = list[str]()

    def watch() -> Iterator[Line]:
        for line in read_lines(journal, live=True):
            yield line  # `replay` has accepted it when it asks for the next.
            if isinstance(line, RequestLine) and line.failed is not None and not getattr(line, "again", 0):
                failed[kind_of(line), line.failed.reason] += 1
            match line:
                case ProposalLine():
                    topics.append(line.topic or "")
                    for candidate in line.candidates:
                        if not candidate.accepted:
                            rejected[candidate.reason or ""].offer(candidate.id, candidate)
                        elif candidate.nearest_seed:
                            nearest[candidate.id] = candidate.nearest_seed
                case InstancesLine() | AnswerLine():
                    first = line.instance if isinstance(line, AnswerLine) else 0
                    for k, instance in enumerate(line.candidates, first):
                        if not instance.accepted:
                            instances[instance.reason or ""].offer(f"{line.id}-{k:04d}", (line.id, instance))
                        for reason in instance.warnings:
                            warned[reason].offer(f"{line.id}-{k:04d}", (line.id, instance))
                case Header() | ClassificationLine() | OutputLine() | ScoreLine() | TagsLine() | Control():
                    pass  # `state` has all that is shown of them.
                case _ as never:
                    assert_never(never)

    state = replay(watch(), journal)
    counts = run_counts(state)
    stats = GenerationStats(state, tags=counts.tags, openings=[_openings(state, words) for words in (1, 2)])
    texts = seeds | {instruction.id: instruction.text for instruction in state.pool}
    stats.similarity = [near.score for near in nearest.values()]
    stats.accepted = _accepted_samples(state, nearest)
    for name in by_count(state.rejected.items()):
        if name != "target_reached":
            stats.rejected[name] = [_rejected(candidate, texts) for candidate in rejected[name].items()]
    stats.rejected_instances = _shown_instances(state.instances_rejected, instances, texts)
    stats.warned_instances = _shown_instances(state.warnings, warned, texts)
    stats.mean_words = _mean_words(state)
    stats.empty_inputs = sum(not i.input for kept in state.instances.values() for i in kept)
    stats.funnel = funnel(state, counts, failed)
    stats.topics = dict(sorted(counts.topics.items(), key=lambda item: -item[1].accepted))
    stats.proposers = counts.proposers if counts.proposers.keys() - {"list"} else {}
    stats.rows_by = _rows_by(state, state.proposed_by)
    stats.rows_on = _rows_by(state, topics)
    stats.shares_over_time = shares_over_time(state.proposed_by, list(stats.proposers))
    stats.pace = _pace(list(measurements))
    return stats


def _rows_by(state: RunState, groups: Sequence[str]) -> dict[str, tuple[int, float | None]]:
    """Return (rows kept, tokens written per row) by group; tokens of follow-ups and of rejected ones count.

    Args:
        state: of the run.
        groups: the group of each proposal, in order.
    """
    rows, tokens = Counter[str](), Counter[str]()
    for name, kept in state.instances.items():
        rows[groups[state.by_id[name].proposal]] += len(kept)
    for group, spent in zip(groups, state.tokens_spent, strict=True):
        tokens[group] += spent
    return {name: (rows[name], tokens[name] / rows[name] if rows[name] else None) for name in tokens}


def shares_over_time(proposed_by: Sequence[str], names: Sequence[str], parts: int = 5) -> dict[str, list[float]]:
    """Return the share of each proposer in each part of a run; nothing where it has fewer proposals than parts.

    Args:
        proposed_by: the proposer of each proposal, in order.
        names: of the proposers.
        parts: of the run, as long as each other but for one proposal.
    """
    if len(proposed_by) < parts:
        return {}
    ends = [len(proposed_by) * k // parts for k in range(parts + 1)]
    spans = [proposed_by[start:end] for start, end in pairwise(ends)]
    return {name: [sum(by == name for by in span) / len(span) for span in spans] for name in names}


def _accepted_samples(state: RunState, nearest: dict[str, Neighbour]) -> list[Accepted]:
    sample = _Sample[Instruction](SAMPLES)
    for instruction in state.pool:
        if state.instances.get(instruction.id):
            sample.offer(instruction.id, instruction)
    return [
        Accepted(
            i.id,
            shorten(i.text),
            state.is_classification.get(i.id, False),
            [Instance(shorten(k.input), shorten(k.output)) for k in state.instances[i.id][:3]],
            nearest[i.id].id if i.id in nearest else "",
            nearest[i.id].score if i.id in nearest else None,
        )
        for i in sample.items()
    ]


def _rejected(candidate: InstructionCandidate, texts: dict[str, str]) -> Rejected:
    evidence = dict(candidate.evidence or {})
    near = evidence.pop("nearest", None) or {}
    shown = {shorten(name, 40): shorten(value, 120) for name, value in list(evidence.items())[:6]}
    near_id = near.get("id", "")
    near_text = shorten(texts.get(near_id, ""))
    return Rejected(candidate.id, shorten(candidate.instruction), shown, near_id, near_text, near.get("score"))


def _shown_instances(
    counts: Counter[str], samples: Mapping[str, _Sample[tuple[str, InstanceCandidate]]], texts: dict[str, str]
) -> dict[str, list[Rejected]]:
    """Return the sampled instances by reason, the most frequent reason first."""
    drawn = {name: samples[name].items() for name in by_count(counts.items())}
    return {name: [_rejected_instance(of, one, texts) for of, one in some] for name, some in drawn.items()}


def _rejected_instance(instruction_id: str, candidate: InstanceCandidate, texts: dict[str, str]) -> Rejected:
    shown = {"instruction": texts.get(instruction_id, ""), "input": candidate.input, "output": candidate.output}
    return Rejected(instruction_id, "", {name: shorten(text, 240, 6) for name, text in shown.items() if text})


def _openings(state: RunState, words: int) -> Openings:
    def opening(text: str) -> str:
        return " ".join(word.strip(".,:;!?\"'()*").lower() for word in text.split(maxsplit=words)[:words])

    counts = Counter(opening(instruction.text) for instruction in state.pool)
    common = list(by_count(counts.items()).items())[:_MOST_FREQUENT]
    return Openings(words, len(counts), [(shorten(opening, 40), count) for opening, count in common])


def _mean_words(state: RunState) -> dict[str, float | None]:
    """Return the mean words of accepted texts; of inputs, those that are not empty."""
    kept = [instance for instances in state.instances.values() for instance in instances]
    texts = {
        "instruction": [i.text for i in state.pool],
        "input": [i.input for i in kept if i.input],
        "output": [i.output for i in kept],
    }
    return {name: fmean(len(tokenize(t)) for t in some) if some else None for name, some in texts.items()}


def _pace(rows: list[Measurement]) -> Pace | None:
    if len(rows) < 2:
        return None
    seconds, sessions, points = 0.0, [0.0], []
    for before, row in zip([rows[0], *rows], rows, strict=False):
        step = row.time - before.time
        if 0 <= step <= _PAUSE_S:
            seconds += step
        else:
            sessions.append(seconds)
        points.append((seconds, row.completion_tokens_per_s, row.accepted))
    return Pace(_when(rows[0].time), _when(rows[-1].time), seconds, sessions, points)


def _when(unix_seconds: float) -> str:
    return f"{datetime.fromtimestamp(unix_seconds, UTC):%Y-%m-%d %H:%M} UTC"
