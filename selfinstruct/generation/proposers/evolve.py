"""The proposer `evolve`: an accepted task becomes deeper, more concrete, more constrained, or moves to another subject.

These are operations of Evol-Instruct (arXiv 2304.12244) in words of our own. A task that was changed may be changed
again, up to `evolve.max_depth` times in all. The parent is the proposal's only example, and its line says how it was
changed and how deep the new task is.

    Task: Describe a garden.
    New task: Describe a garden in winter without naming any colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from selfinstruct.config.proposing import Evolve
from selfinstruct.generation.frame import Frame
from selfinstruct.generation.parsing import one_line
from selfinstruct.generation.proposal_parsing import ProposedText
from selfinstruct.generation.proposers import seed_draws
from selfinstruct.generation.proposers.interface import Example, Question, Seen
from selfinstruct.generation.proposers.new_task import read_new_task
from selfinstruct.generation.proposers.wording import Change, Wording
from selfinstruct.records import Completion, Message, Prompt, Style
from selfinstruct.run.lines import ProposalLine

_TRIES = 20


@dataclass(frozen=True, slots=True)
class EvolvedTask:
    """Changes one accepted task; a seed as long as none is accepted.

    Attributes:
        options: the sampling, and the greatest depth.
        style: how the model is prompted.
        frame: the words of the prompt.
        wording: the ways to change a task.
    """

    options: Evolve
    style: Style
    frame: Frame
    wording: Wording

    def ask(self, seen: Seen) -> Question:
        """Return the question about a parent that is drawn, in one of the ways."""
        way = seen.draw.choice(list(self.wording.evolve))
        parent, depth = self._parent(seen)
        stop = ("\n",) if self.style == "completion" else ()
        topic = self.wording.topic.sentence("one", seen.topic)
        encode = partial(self._encode, change=self.wording.evolve[way], topic=topic)
        return Question((parent,), encode, lambda shown: stop, variant=way, depth=depth)

    def parse(self, answer: Completion, asked: ProposalLine) -> list[ProposedText]:
        """Return the changed task."""
        worked = {example.after for example in self.wording.evolve[asked.variant].examples}
        return read_new_task(answer, self.wording.new_task, ends=self.frame.task, opened=True, worked=worked)

    def _parent(self, seen: Seen) -> tuple[Example, int]:
        """Return a task that may still be changed, and the depth of the new one."""
        for _ in range(_TRIES if len(seen.pool) else 0):
            drawn = seen.pool[seen.draw.randrange(len(seen.pool))]
            if drawn.depth < self.options.max_depth:
                return Example(drawn.id, drawn.text), drawn.depth + 1
        seed = seed_draws.one(seen.seeds, seen.draw)
        return Example(seed.id, seed.instruction), 1

    def _encode(self, shown: Sequence[Example], *, change: Change, topic: str) -> Prompt:
        new, asked = self.wording.new_task, f"{change.ask} {topic}".rstrip()
        tasks = [self.frame.line(self.frame.task, one_line(example.text)) for example in shown]
        worked = [
            (self.frame.line(self.frame.task, example.before), self.frame.line(new, example.after))
            for example in change.examples
        ]
        if self.style == "completion":
            blocks = [f"{before}\n{after}" for before, after in worked]
            return "\n\n".join([asked, *blocks, "\n".join([*tasks, self.frame.opening(new)])])
        turns: list[Message] = []
        for before, after in worked:
            turns.append({"role": "user", "content": f"{before}\n\n{change.ask}"})
            turns.append({"role": "assistant", "content": after})
        return [*turns, {"role": "user", "content": "\n\n".join([*tasks, asked])}]
