"""What a proposer is: what it asks in proposal n, and how it reads the answer. Nothing else.

The steps choose the proposer, fit its examples into the context, and decide about what it reads; so a proposer does no
I/O, knows no engine and keeps no state.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, overload

from selfinstruct.config.section import Sampling
from selfinstruct.generation.proposal_parsing import ProposedText
from selfinstruct.generation.proposers.topics import Topic
from selfinstruct.records import Completion, Instruction, Prompt, SeedTask
from selfinstruct.run.lines import ProposalLine


@dataclass(frozen=True, slots=True)
class Example:
    """A seed or an accepted instruction that a prompt shows."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Pool(Sequence[Instruction]):
    """The accepted instructions that a proposal sees, in order: those of the parent runs, then the first of this run.

    Attributes:
        parents: of the parent runs.
        own: of this run, so far.
        visible: how many of `own` count.
    """

    parents: Sequence[Instruction]
    own: Sequence[Instruction]
    visible: int

    def __len__(self) -> int:
        """Return the number of instructions."""
        return len(self.parents) + self.visible

    @overload
    def __getitem__(self, at: int) -> Instruction: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Instruction]: ...
    def __getitem__(self, at: int | slice) -> Instruction | Sequence[Instruction]:
        """Return one instruction, or some."""
        if isinstance(at, slice):
            return [self[k] for k in range(*at.indices(len(self)))]
        k = range(len(self))[at]  # It raises IndexError, and counts negative numbers from the end.
        return self.parents[k] if k < len(self.parents) else self.own[k - len(self.parents)]


@dataclass(frozen=True, slots=True)
class Seen:
    """All that a proposal may be made of.

    Attributes:
        seeds: the user's seed tasks.
        pool: accepted instructions.
        draw: of the proposal's random choices.
        topic: what the new tasks are to be about; None: anything.
    """

    seeds: Sequence[SeedTask]
    pool: Pool
    draw: random.Random
    topic: Topic | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """What a proposer asks.

    Attributes:
        examples: what the prompt should show; at least one of them, if there are any.
        encode: makes the prompt with those of the examples that fit the context.
        stop: returns the stop strings of the answer, from the number of examples that are shown.
        variant: which of its ways to ask the proposer took; the journal says so.
        depth: how often the task that it asks for will have been changed.
        category: of the seeds that the prompt shows, where it is one.
        begun: what the prompt writes of the new instruction itself.
    """

    examples: tuple[Example, ...]
    encode: Callable[[Sequence[Example]], Prompt]
    stop: Callable[[int], tuple[str, ...]]
    variant: str = ""
    depth: int = 0
    category: str = ""
    begun: str = ""


class Proposer(Protocol):
    """A way to ask a model for new instructions."""

    @property
    def options(self) -> Sampling:
        """How its answers are sampled."""
        ...

    def ask(self, seen: Seen) -> Question:
        """Return the question of a proposal: a function of what it sees alone."""
        ...

    def parse(self, answer: Completion, asked: ProposalLine) -> list[ProposedText]:
        """Return the candidates in an answer, in order; none when it holds none.

        Args:
            answer: the model's.
            asked: the proposal's line, which says what its prompt showed.
        """
        ...
