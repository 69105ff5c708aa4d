"""How varied what was written is: lengths, verbs, growth, neighbours, languages, and who is mentioned.

Where comparing everything would take too long, a sample is taken by a hash of the ids; the page says how large it is.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from selfinstruct.generation.filters.row import Row
from selfinstruct.language_identification import identifier
from selfinstruct.novelty import NoveltyIndex, tokenize
from selfinstruct.records import Instance, Instruction, SeedTask
from selfinstruct.report.mentions import Mentions, mentions
from selfinstruct.report.sensitive import Sensitive, personal, secrets
from selfinstruct.report.verb_object import Verb, most_frequent, verb_and_object
from selfinstruct.run.state import RunState

T = TypeVar("T")

NEIGHBOURS = 500
"""Instructions that are compared with the whole pool."""
DETECTED = 2_000
"""Rows in which personal data and secrets are looked for, and instructions whose language is named."""
_POINTS = 60
_QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True, slots=True)
class Lengths:
    """Words of one kind of text: the 5 %, 50 % and 95 % quantiles and the largest, here and in the seeds."""

    name: str
    here: list[int]
    seeds: list[int]


@dataclass(frozen=True, slots=True)
class Growth:
    """Whether the run still says something new.

    Attributes:
        verbs: (instructions, distinct verbs so far).
        pairs: (instructions, distinct pairs of verb and object so far).
        triples: (instructions, distinct sequences of three words so far).
        new_first: share of the sequences in the first tenth of the instructions that were new then.
        new_last: the same of the last tenth; the nearer to 0, the more saturated.
    """

    verbs: list[tuple[int, int]]
    pairs: list[tuple[int, int]]
    triples: list[tuple[int, int]]
    new_first: float
    new_last: float

    @property
    def saturating(self) -> bool:
        """Return whether less than half as much is new in the last tenth as in the first."""
        return self.new_last < 0.5 * self.new_first


@dataclass
class Variety:
    """How varied a run is.

    Attributes:
        lengths: of instructions, inputs and outputs.
        verbs: the most frequent verbs with their objects.
        with_pair: number of instructions in which a verb and an object were found.
        growth: of what is new; None with fewer than 20 instructions.
        neighbours: ROUGE-L F of a sample of instructions to the most similar earlier one of the run.
        languages: (code, number) of a sample of instructions.
        rows: rows kept; `seed_rows`: instances of the seed tasks.
        mentions: rows that mention groups of people.
        looked_at: rows in which personal data and secrets were looked for.
        personal: personal data found in them.
        secrets: secrets found in them.
    """

    lengths: list[Lengths] = field(default_factory=list)
    verbs: list[Verb] = field(default_factory=list)
    with_pair: int = 0
    growth: Growth | None = None
    neighbours: list[float] = field(default_factory=list)
    languages: list[tuple[str, int]] = field(default_factory=list)
    rows: int = 0
    seed_rows: int = 0
    mentions: list[Mentions] = field(default_factory=list)
    looked_at: int = 0
    personal: list[Sensitive] = field(default_factory=list)
    secrets: list[Sensitive] = field(default_factory=list)


def variety(state: RunState, seeds: Sequence[SeedTask]) -> Variety:
    """Return how varied a run is, beside its seeds.

    Args:
        state: the state of the run.
        seeds: its seed tasks; empty where they are not known.
    """
    words = {instruction.id: tokenize(instruction.text) for instruction in state.pool}
    here = _Texts.of((words[i.id], state.instances.get(i.id, ())) for i in state.pool)
    there = _Texts.of((tokenize(seed.instruction), seed.instances) for seed in seeds)
    pairs = [verb_and_object(instruction.text) for instruction in state.pool]
    rows = (
        (f"{task.id}-{k}", Row(task.instruction, one.input, one.output))
        for task in state.tasks()
        for k, one in enumerate(task.instances)
    )
    looked_at = sample(rows, DETECTED)
    return Variety(
        lengths=[
            Lengths(name, quantiles(getattr(here, name)), quantiles(getattr(there, name)))
            for name in ("instructions", "inputs", "outputs")
        ],
        verbs=most_frequent(pair for pair in pairs if pair),
        with_pair=sum(pair is not None for pair in pairs),
        growth=growth(list(words.values()), pairs) if len(pairs) >= 20 else None,
        neighbours=_neighbours(state.pool),
        languages=_languages(state.pool),
        rows=len(here.rows),
        seed_rows=len(there.rows),
        mentions=mentions(here.rows, there.rows),
        looked_at=len(looked_at),
        personal=personal(looked_at),
        secrets=secrets(looked_at),
    )


@dataclass
class _Texts:
    """Words of instructions, of inputs that are not empty and of outputs; and the distinct words of each row."""

    instructions: list[int] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    rows: list[frozenset[str]] = field(default_factory=list)

    @classmethod
    def of(cls, tasks: Iterable[tuple[list[str], Sequence[Instance]]]) -> _Texts:
        """Split the instances of tasks into words; the instructions are split already."""
        texts = cls()
        for instruction, instances in tasks:
            texts.instructions.append(len(instruction))
            for instance in instances:
                task_input, answer = tokenize(instance.input), tokenize(instance.output)
                texts.inputs += [len(task_input)] if task_input else []
                texts.outputs.append(len(answer))
                texts.rows.append(frozenset(instruction).union(task_input, answer))
        return texts


def quantiles(lengths: Sequence[int]) -> list[int]:
    """Return the 5 %, 50 % and 95 % quantiles (nearest rank) and the largest; nothing of nothing.

    >>> quantiles(range(1, 101))
    [5, 50, 95, 100]
    """
    ordered = sorted(lengths)
    return [ordered[max(0, math.ceil(q * len(ordered)) - 1)] for q in (*_QUANTILES, 1)] if ordered else []


def growth(texts: Sequence[Sequence[str]], pairs: Sequence[tuple[str, str] | None]) -> Growth:
    """Return how the numbers of distinct verbs, pairs and sequences of three words grow, in order of acceptance.

    Args:
        texts: the words of each instruction.
        pairs: the verb and object of each, where there are.
    """
    numbers: dict[str, int] = {}
    triples: set[tuple[int, ...]] = set()
    seen_pairs: set[tuple[str, str]] = set()
    curves: tuple[list[tuple[int, int]], ...] = ([], [], [])
    tenth, step = max(1, len(texts) // 10), max(1, len(texts) // _POINTS)
    written, new = [0, 0], [0, 0]  # In the first and in the last tenth.
    for n, (words, pair) in enumerate(zip(texts, pairs, strict=True), 1):
        ids = [numbers.setdefault(word, len(numbers)) for word in words]
        own = set(zip(ids, ids[1:], ids[2:], strict=False))
        for end, inside in enumerate((n <= tenth, n > len(texts) - tenth)):
            if inside:
                written[end] += len(own)
                new[end] += len(own - triples)
        triples |= own
        if pair:
            seen_pairs.add(pair)
        if n % step == 0 or n == len(texts):
            sizes = (len({verb for verb, _ in seen_pairs}), len(seen_pairs), len(triples))
            for curve, size in zip(curves, sizes, strict=True):
                curve.append((n, size))
    shares = [n / of if of else 0.0 for n, of in zip(new, written, strict=True)]
    return Growth(curves[0], curves[1], curves[2], shares[0], shares[1])


def sample(items: Iterable[tuple[str, T]], size: int) -> list[T]:
    """Return the `size` items whose ids have the lowest hashes, in their order: the sample stays as a run grows."""
    every = list(items)
    if len(every) <= size:
        return [item for _, item in every]
    ranks = [hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest() for name, _ in every]
    last = sorted(ranks)[size - 1]
    return [item for rank, (_, item) in zip(ranks, every, strict=True) if rank <= last]


def _neighbours(pool: Sequence[Instruction]) -> list[float]:
    """Return the similarity of a sample of the pool to the most similar earlier instruction of the pool."""
    index = NoveltyIndex()
    index.add_many(instruction.text for instruction in pool)
    chosen = sample(((i.id, (n, i.text)) for n, i in enumerate(pool) if n), NEIGHBOURS)
    nearest = index.nearest_many([text for _, text in chosen], before=[n for n, _ in chosen])
    return [near[0].score for near in nearest if near]


def _languages(pool: Sequence[Instruction]) -> list[tuple[str, int]]:
    """Return the languages of a sample of the pool, the most frequent first."""
    texts = sample(((i.id, i.text) for i in pool), DETECTED)
    counts = Counter(str(identifier().classify(text)[0]) for text in texts)
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
