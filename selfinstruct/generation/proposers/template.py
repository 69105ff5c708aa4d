"""The proposer `template`: a chat model writes what its user would ask (Magpie, arXiv 2406.08464).

The prompt is the chat template up to the user's turn. A model that was tuned on conversations writes a user's message
there, as it would write an answer in its own turn:

    <|im_start|>user
    Explain how

No example is shown: the model's own tuning decides what is asked. With `template.openings` the turn begins with two or
three words of a seed (here "Explain how"), which say the kind of the task and leave its subject to the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from selfinstruct.config.schema import Template
from selfinstruct.generation.parsing import TRUNCATED, one_line
from selfinstruct.generation.proposal_parsing import ProposedText
from selfinstruct.generation.proposers.interface import Example, Question, Seen
from selfinstruct.generation.proposers.wording import Wording
from selfinstruct.records import Completion, OpenTurn, Prompt
from selfinstruct.run.lines import ProposalLine

_WORDS = (2, 3)
"""Of a seed, at the beginning of a user's turn. After one alone ("As", "My") a small model tells stories."""


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
        if seen.draw.random() >= self.options.openings:
            return Question((), partial(self._encode, system=system), lambda shown: ())
        seed = seen.draw.choice(seen.seeds)
        begun = opening(seed.instruction, seen.draw.choice(_WORDS))
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


def opening(instruction: str, words: int) -> str:
    """Return the first words of an instruction, at most half of it; characters where it has no spaces.

    Args:
        instruction: the instruction.
        words: how many of them.
    """
    text = one_line(instruction)
    parts, between = (text.split(" "), " ") if " " in text else (list(text), "")
    return between.join(parts[: max(1, min(words, len(parts) // 2))])
