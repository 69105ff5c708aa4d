"""Mix the rows of other datasets into a training set, by weight.

A source with weight w adds w times as much as the run's own rows have, counted by examples or by tokens, as far as it
reaches; without a weight it adds all it has. The tasks of a source are drawn in proportion to their size, with a
maximum and a temperature (FLAN's examples-proportional mixing; Raffel et al. 2020, section 3.5.2). The same options and
files give the same rows.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from selfinstruct.dataset.holding_out import HeldOut
from selfinstruct.errors import ConfigError
from selfinstruct.formats.conversations import Conversation
from selfinstruct.formats.families.chat import message
from selfinstruct.formats.families.dataset_row import USER, DatasetRow
from selfinstruct.novelty.overlap import EvaluationTexts
from selfinstruct.text import name_and_number

Unit = Literal["examples", "tokens"]

NOTHING = EvaluationTexts([])
NEAR_UNSEEN = "near a question of an unseen task"
"""Why a row is left out that is on neither side."""
SPARE = "of more tasks than are trained on"


@dataclass(frozen=True, slots=True)
class Source:
    """A dataset to mix in: its path or name, and its weight; None for all of its rows."""

    name: str
    weight: float | None = None

    @classmethod
    def parse(cls, text: str) -> Source:
        """Read `PATH` or `PATH:weight`.

        Raises:
            ConfigError: the weight is not above 0.
        """
        name, weight = name_and_number(text)
        if weight is not None and not 0 < weight < float("inf"):
            raise ConfigError(f"--mix {text}: the weight must be a number above 0")
        return cls(name, weight)


@dataclass(frozen=True, slots=True)
class MixOptions:
    """How rows are drawn.

    Attributes:
        unit: what weights count.
        temperature: tasks are drawn in proportion to (their rows) ** (1 / temperature); a larger one makes them alike.
        task_cap: most rows of one task that count and are drawn; None: no limit.
        seed: of the draw.
    """

    unit: Unit = "examples"
    temperature: float = 1.0
    task_cap: int | None = None
    seed: int = 42


@dataclass
class SourceCounts:
    """What became of a source's rows: read = taken + left_over + the sums of `left_out` and `dropped`.

    Attributes:
        name: the source.
        read: number of its rows that were read.
        taken: number of rows in the mixture.
        left_over: number of rows that its weight does not reach.
        left_out: number of rows left out, by reason.
        dropped: number of rows that the reader left out, by what they are.
        tokens: tokens of the rows taken; 0 if weights count examples.
        wanted: what its weight asks for, in the unit of the weights; None: all.
        examples_of_overlap: a few overlaps with evaluation tasks, for people.
        held_out: names of the tasks or categories of the mixture that are held out as a whole.
        spare: names of those that are not trained on either.
        licence: what the dataset says of it; empty if it says nothing.
        is_own: whether the rows are the run's own, of which some were left out.
    """

    name: str
    read: int = 0
    taken: int = 0
    left_over: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    tokens: int = 0
    wanted: float | None = None
    examples_of_overlap: list[str] = field(default_factory=list)
    held_out: list[str] = field(default_factory=list)
    spare: list[str] = field(default_factory=list)
    licence: str = ""
    is_own: bool = False

    def sentence(self) -> str:
        """Return the counts as one line for people."""
        parts = [f"{self.taken:,} of {self.read:,} rows"]
        parts += [f"{count:,} {reason}" for reason, count in self.left_out.most_common()]
        parts += [f"{count:,} x {what}" for what, count in self.dropped.most_common()]
        if self.left_over:
            parts.append(f"{self.left_over:,} beyond its weight")
        reached = self.tokens or self.taken
        if self.wanted is not None and not self.left_over and reached < self.wanted:
            parts.append(f"its weight asks for {self.wanted:,.0f}")
        return f"{self.name}: {', '.join(parts)}"


def mix(
    own: Sequence[Conversation],
    sources: Sequence[tuple[Source, Iterable[DatasetRow]]],
    options: MixOptions,
    evaluation: EvaluationTexts,
    count_tokens: Callable[[Conversation], int] = lambda row: 0,
    held_out: HeldOut | None = None,
    unseen: EvaluationTexts = NOTHING,
) -> tuple[list[Conversation], list[SourceCounts]]:
    """Return the rows of all sources behind the run's own ones, and what became of each source.

    A row whose prompt and answer are already there is left out, and a row that overlaps with an evaluation task.

    Args:
        own: the run's own rows; all of them are kept.
        sources: the sources with their rows.
        options: how rows are drawn.
        evaluation: the tasks that models will be compared on.
        count_tokens: the length of a row; needed if weights count tokens.
        held_out: which rows are kept for the evaluation; None: none.
        unseen: the questions of `held_out` about unseen tasks; rows near one are left out.
    """
    by_tokens = options.unit == "tokens"
    amount = sum(map(count_tokens, own)) if by_tokens else len(own)
    seen = {_key(row) for row in own}
    mixed = list(own)
    all_counts = []
    for source, rows in sources:
        counts = SourceCounts(source.name, wanted=None if source.weight is None else source.weight * amount)
        by_task: dict[str, list[Conversation]] = {}
        for row in rows:
            counts.read += 1
            conversation = as_conversation(row, f"{source.name}-{counts.read}")
            if held_out is not None and (side := held_out.side(row)):
                counts.left_out[SPARE if side == "spare" else f"held out, {side}"] += 1
            elif (reason := _objection(row, conversation, seen, evaluation, unseen, counts)) is not None:
                counts.left_out[reason] += 1
            else:
                by_task.setdefault(row.task, []).append(conversation)
        taken = 0.0
        for conversation in _interleaved(by_task, options, source.name, counts):
            if counts.wanted is not None and taken >= counts.wanted:
                counts.left_over += 1
                continue
            tokens = count_tokens(conversation) if by_tokens else 0
            taken += tokens if by_tokens else 1
            counts.tokens += tokens
            counts.taken += 1
            mixed.append(conversation)
        all_counts.append(counts)
    return mixed, all_counts


def as_conversation(row: DatasetRow, name: str) -> Conversation:
    """Return a row of any family as a row to train on.

    Args:
        row: the row.
        name: its id if it has none.
    """
    prompt = tuple(message(turn) for turn in row.turns[:-1])
    return Conversation(row.id or name, prompt, (message(row.answer),), row.instruction)


def _objection(
    row: DatasetRow,
    conversation: Conversation,
    seen: set[tuple[tuple[str, str], ...]],
    evaluation: EvaluationTexts,
    unseen: EvaluationTexts,
    counts: SourceCounts,
) -> str | None:
    """Return why a row is left out; else remember it in `seen`."""
    if not row.is_text:
        return "with characters that are no text"
    key = _key(conversation)
    if key in seen:
        return "duplicates"
    instruction, task_input = row.parts
    asked = "\n".join(turn.content for turn in row.turns if turn.role == USER)
    if (overlap := evaluation.find(instruction, task_input or asked)) is not None:
        if len(counts.examples_of_overlap) < 3:
            counts.examples_of_overlap.append(
                f"{instruction[:60]!r} overlaps with {overlap.task} by {overlap.measure}"
                + (f" {overlap.score:.2f}" if overlap.measure == "ROUGE-L" else "")
            )
        return f"overlapping with evaluation tasks by {overlap.measure}"
    if unseen.find(instruction, task_input or asked) is not None:
        return NEAR_UNSEEN
    seen.add(key)
    return None


def _key(row: Conversation) -> tuple[tuple[str, str], ...]:
    return tuple((m["role"], m["content"].strip()) for m in (*row.prompt, *row.completion))


def _interleaved(
    by_task: dict[str, list[Conversation]], options: MixOptions, name: str, counts: SourceCounts
) -> list[Conversation]:
    """Return rows in an order whose every beginning has the tasks in proportion to their weights."""
    placed = []
    for task, rows in by_task.items():
        draw = random.Random(f"{options.seed}/mix/{name}/{task}")
        shuffled = draw.sample(rows, len(rows))
        kept = shuffled if options.task_cap is None else shuffled[: options.task_cap]
        if len(kept) < len(rows):
            counts.left_out["beyond the most of a task"] += len(rows) - len(kept)
        weight = len(kept) ** (1 / options.temperature)
        shift = draw.random()
        placed += [((k + shift) / weight, task, k, row) for k, row in enumerate(kept)]
    return [row for *_, row in sorted(placed, key=lambda one: one[:3])]
