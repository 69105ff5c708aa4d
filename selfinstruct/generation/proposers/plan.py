"""The proposer `plan`: what a few tasks share, what a new one needs, and then the new task (arXiv 2507.23751).

Two or three tasks of one category are shown: seeds, and among them an accepted instruction that was made after seeds of
this category, where a few draws find one. The plan is short in one half of the proposals and long in the other. It
stays in the journal, as part of the completion; the new task after it is the candidate.

    Task: Suggest a name for a bakery that opens before dawn.
    Task: Think of a title for a short film about two lighthouse keepers.
    Plan: Both want a fitting name for a thing that is described; a new one names another thing ...
    New task: Find a name for a hiking club whose members are all over seventy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import starmap
from typing import Literal

from selfinstruct.config.proposing import Plan
from selfinstruct.generation.frame import Frame
from selfinstruct.generation.parsing import one_line
from selfinstruct.generation.proposal_parsing import ProposedText
from selfinstruct.generation.proposers import seed_draws
from selfinstruct.generation.proposers.interface import Example, Question, Seen
from selfinstruct.generation.proposers.new_task import read_new_task
from selfinstruct.generation.proposers.wording import PlannedTask, Wording
from selfinstruct.records import Completion, Instruction, Message, Prompt, SeedTask, Style
from selfinstruct.run.lines import ProposalLine

_TRIES = 20
Length = Literal["short", "long"]


@dataclass(frozen=True, slots=True)
class PlannedTasks:
    """Plans one new task from a few of one category.

    Attributes:
        options: the sampling, and how many tasks are shown.
        style: how the model is prompted.
        frame: the words of the prompt.
        wording: what the prompt asks, with worked examples.
    """

    options: Plan
    style: Style
    frame: Frame
    wording: Wording

    def ask(self, seen: Seen) -> Question:
        """Return the question about seeds of the category of one that is drawn."""
        length: Length = seen.draw.choice(("short", "long"))
        kin = _of_one_category(seen, seen.draw.randint(2, self.options.num_examples))
        category = kin[0].category if len({seed.category for seed in kin}) == 1 else ""
        made = _made_after(category, seen, min(self.options.num_generated, len(kin) - 1)) if category else []
        shown = [(seed.id, seed.instruction) for seed in kin[: len(kin) - len(made)]]
        examples = tuple(starmap(Example, [*shown, *((one.id, one.text) for one in made)]))
        topic = self.wording.topic.sentence("one", seen.topic)
        stop = (f"\n{self.frame.opening(self.frame.task)}", "\n\n\n") if self.style == "completion" else ()
        encode = partial(self._encode, length=length, topic=topic)
        return Question(examples, encode, lambda shown: stop, variant=length, category=category)

    def parse(self, answer: Completion, asked: ProposalLine) -> list[ProposedText]:
        """Return the new task after the plan."""
        worked = {example.new for example in self.wording.plan.examples}
        return read_new_task(answer, self.wording.new_task, ends=self.frame.task, worked=worked)

    def _encode(self, shown: Sequence[Example], *, length: Length, topic: str) -> Prompt:
        tasks = self._tasks(example.text for example in shown)
        if self.style == "completion":
            worked = (f"{self._tasks(e.tasks)}\n{self._planned(e, length)}" for e in self.wording.plan.examples)
            word = self.wording.plan.word
            opening = self.frame.line(word, topic) if topic else self.frame.opening(word)
            return "\n\n".join([self.wording.plan.header, *worked, f"{tasks}\n{opening}"])
        asked = getattr(self.wording.plan, length)
        turns: list[Message] = []
        for example in self.wording.plan.examples:
            turns.append({"role": "user", "content": f"{self._tasks(example.tasks)}\n\n{asked}"})
            turns.append({"role": "assistant", "content": self._planned(example, length)})
        return [*turns, {"role": "user", "content": f"{tasks}\n\n{asked} {topic}".rstrip()}]

    def _tasks(self, texts: Iterable[str]) -> str:
        return "\n".join(self.frame.line(self.frame.task, one_line(text)) for text in texts)

    def _planned(self, example: PlannedTask, length: Length) -> str:
        plan = self.frame.line(self.wording.plan.word, getattr(example, length))
        return f"{plan}\n{self.frame.line(self.wording.new_task, example.new)}"


def _of_one_category(seen: Seen, count: int) -> list[SeedTask]:
    """Return seeds of the category of one that is drawn; of any where its own has no second one."""
    first = seed_draws.one(seen.seeds, seen.draw)
    others = [seed for seed in seen.seeds if seed.id != first.id]
    kin = [seed for seed in others if (seed.category, seed.quota) == (first.category, first.quota)] or others
    return [first, *seen.draw.sample(kin, min(count - 1, len(kin)))]


def _made_after(category: str, seen: Seen, most: int) -> list[Instruction]:
    """Return different accepted instructions of a category, as many as a few draws find: the pool may be large."""
    made: dict[str, Instruction] = {}
    for _ in range(_TRIES if most and len(seen.pool) else 0):
        drawn = seen.pool[seen.draw.randrange(len(seen.pool))]
        if drawn.category == category and len(made) < most:
            made[drawn.id] = drawn
    return list(made.values())
