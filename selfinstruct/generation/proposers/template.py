"""The proposer `template`: a chat model writes what its user would ask (Magpie, arXiv 2406.08464).

The prompt is the chat template up to the user's turn. A model that was tuned on conversations writes a user's message
there, as it would write an answer in its own turn:

    <|im_start|>user

No example is shown, so that the model's own tuning decides what is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from selfinstruct.config.schema import Template
from selfinstruct.generation.parsing import TRUNCATED
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
        """Return the question, which is the same in every proposal but for its topic."""
        topic = "" if self.wording is None else self.wording.topic.sentence("system", seen.topic)
        system = "\n\n".join(filter(None, [self.options.system, topic]))
        return Question((), partial(self._encode, system=system), lambda shown: ())

    def parse(self, answer: Completion, asked: ProposalLine) -> list[ProposedText]:
        """Return the user's message as one instruction, with its lines."""
        text = answer.text.strip()
        return [ProposedText(text, None if answer.finish_reason == "stop" else TRUNCATED)] if text else []

    def _encode(self, shown: Sequence[Example], *, system: str) -> Prompt:
        before = [{"role": "system", "content": system}] if system else []
        return OpenTurn([*before, {"role": "user", "content": ""}])
