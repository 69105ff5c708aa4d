"""The proposer `template`: a chat model writes what its user would ask (Magpie, arXiv 2406.08464).

The prompt is the chat template up to the user's turn. A model that was tuned on conversations writes a user's message
there, as it would write an answer in its own turn:

    <|im_start|>user

No example is shown, so that the model's own tuning decides what is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selfinstruct.config.schema import Template
from selfinstruct.generation.parsing import TRUNCATED
from selfinstruct.generation.proposal_parsing import ProposedText
from selfinstruct.generation.proposers.interface import Example, Question, Seen
from selfinstruct.records import Completion, OpenTurn, Prompt
from selfinstruct.run.lines import ProposalLine


@dataclass(frozen=True, slots=True)
class UserTurn:
    """Opens the user's turn.

    Attributes:
        options: the sampling, and a system message.
    """

    options: Template

    def ask(self, seen: Seen) -> Question:
        """Return the question, which is the same in every proposal."""
        return Question((), self._encode, lambda shown: ())

    def parse(self, answer: Completion, asked: ProposalLine) -> list[ProposedText]:
        """Return the user's message as one instruction, with its lines."""
        text = answer.text.strip()
        return [ProposedText(text, None if answer.finish_reason == "stop" else TRUNCATED)] if text else []

    def _encode(self, shown: Sequence[Example]) -> Prompt:
        system = [{"role": "system", "content": self.options.system}] if self.options.system else []
        return OpenTurn([*system, {"role": "user", "content": ""}])
