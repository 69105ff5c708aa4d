"""The proposer `template`: a chat model writes what its user would ask (Magpie, arXiv 2406.08464).

The prompt is the chat template up to the user's turn. A model that was tuned on conversations writes a user's message
there, as it would write an answer in its own turn:

    <|im_start|>user
    Explain

No example is shown: the model's own tuning decides what is asked. With `template.openings` the turn begins with the
first word of a seed ("Explain"), which says the kind of the task and leaves its subject to the model. The seed must be
a single sentence, and another such seed begin with the word, too.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from selfinstruct.config.proposing import Template
from selfinstruct.generation.parsing import TRUNCATED, one_line
from selfinstruct.generation.proposal_parsing import ProposedText
from selfinstruct.generation.proposers.interface import Example, Question, Seen
from selfinstruct.generation.proposers.wording import Wording
from selfinstruct.records import Completion, OpenTurn, Prompt
from selfinstruct.run.lines import ProposalLine


@dataclass(frozen=True, slots=True)
class UserTurn:
    """Opens the user's turn.

    Attributes:
        options: the sampling, and a system message.
        wording: how a topic is named; None where there are no topics.
    """

    options: Template
    wording: Wording | None = None

    def ask(self, seen: Seen) -> Question:
        """Return the question: the same in every proposal but for its topic, and the seed whose words open it."""
        topic = "" if self.wording is None else self.wording.topic.sentence("system", seen.topic)
        system = "\n\n".join(filter(None, [self.options.system, topic]))
        opens = seen.draw.random() < self.options.openings
        if not opens or not (openings := _openings(tuple(seed.instruction for seed in seen.seeds))):
            return Question((), partial(self._encode, system=system), lambda shown: ())
        position, begun = seen.draw.choice(openings)
        seed = seen.seeds[position]
        encode = partial(self._encode, system=system)
        return Question(
            (Example(seed.id, begun),),
            encode,
            lambda shown: (),
            category=seed.category,
            begun=begun,
        )

    def parse(self, answer: Completion, asked: ProposalLine) -> list[ProposedText]:
        """Return the user's message as one instruction, with its lines."""
        text = f"{asked.begun}{answer.text}".strip() if answer.text.strip() else ""
        return [ProposedText(text, None if answer.finish_reason == "stop" else TRUNCATED)] if text else []

    def _encode(self, shown: Sequence[Example], *, system: str) -> Prompt:
        before = [{"role": "system", "content": system}] if system else []
        return OpenTurn([*before, {"role": "user", "content": "".join(example.text for example in shown)}])


_MORE = re.compile(r"[.!?:。？！：\n]\s*\S")
"""A second sentence or line; the first may then only say what it is about ("My cat hides. What can I do?")."""


@functools.lru_cache(4)
def _openings(instructions: tuple[str, ...]) -> tuple[tuple[int, str], ...]:
    """Return the first words of single sentences, if they begin at least two of them, each with its position.

    What a model writes after other words ("My", "A") is often a story and no task.
    """
    words = {k: opening(text) for k, text in enumerate(instructions) if not _MORE.search(text.strip())}
    number = Counter(word.casefold() for word in words.values())
    return tuple((k, word) for k, word in words.items() if number[word.casefold()] > 1)


def opening(instruction: str) -> str:
    """Return the first word of an instruction; its first character where it has no spaces."""
    text = one_line(instruction)
    return text.split(" ", 1)[0] if " " in text else text[:1]
