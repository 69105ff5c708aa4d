"""The proposer `list`: the model continues a numbered list of instructions (paper, section 2.2).

Six seeds and two accepted instructions are shown, and eight new ones are asked for:

    Here is a list of varied tasks, each of a different kind.

    Task 1: Find the odd word out in the list.
    ...
    Task 9:

A small chat model copies such a list from the user's message. With `proposal.chat_form: begun` the list begins its own
turn; with `turns` the examples are its own earlier answers to the same request, and it writes one instruction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from selfinstruct.config.proposing import Proposal
from selfinstruct.generation import prompts
from selfinstruct.generation.frame import Frame
from selfinstruct.generation.proposal_parsing import ProposedText, parse_proposal
from selfinstruct.generation.proposers import seed_draws
from selfinstruct.generation.proposers.interface import Example, Question, Seen
from selfinstruct.generation.proposers.new_task import read_new_task
from selfinstruct.generation.proposers.wording import Wording
from selfinstruct.records import Completion, Prompt, Style
from selfinstruct.run.lines import ProposalLine


@dataclass(frozen=True, slots=True)
class ListContinuation:
    """Continues a list of instructions.

    Attributes:
        options: number of examples and of new instructions.
        style: how the model is prompted.
        frame: the words of the prompt.
        wording: how a topic is named; None where there are no topics.
    """

    options: Proposal
    style: Style
    frame: Frame
    wording: Wording | None = None

    def ask(self, seen: Seen) -> Question:
        """Return the question with seeds and accepted instructions in random order."""
        generated = seen.draw.sample(range(len(seen.pool)), min(self.options.num_generated_examples, len(seen.pool)))
        wanted = self.options.num_seed_examples + self.options.num_generated_examples
        # Early prompts, with nothing generated yet, are filled up with seeds (paper, section 2.2).
        own = seed_draws.some(seen.seeds, wanted - len(generated), seen.draw)
        examples = [Example(seed.id, seed.instruction) for seed in own]
        examples += [Example(seen.pool[k].id, seen.pool[k].text) for k in generated]
        seen.draw.shuffle(examples)
        topic = (
            ""
            if self.wording is None
            else self.wording.topic.sentence("one" if self._in_turns else "several", seen.topic)
        )
        return Question(tuple(examples), partial(self._encode, topic=topic), self._stop)

    def parse(self, answer: Completion, asked: ProposalLine) -> list[ProposedText]:
        """Return the items of the list, or the one instruction of a turn."""
        if self._in_turns:
            return read_new_task(answer, self.frame.task, opened=True)
        return parse_proposal(
            answer.text,
            truncated=answer.finish_reason != "stop",
            num_examples=len(asked.examples),
            num_new=self.options.num_new,
            style="completion" if self._continues else "chat",
            frame=self.frame,
        )

    @property
    def _continues(self) -> bool:
        """Whether the model continues the list itself, and does not answer a message."""
        return self.style == "completion" or self.options.chat_form == "begun"

    @property
    def _in_turns(self) -> bool:
        return self.style == "chat" and self.options.chat_form == "turns"

    def _encode(self, shown: Sequence[Example], *, topic: str) -> Prompt:
        texts = [example.text for example in shown]
        if self._in_turns:
            return prompts.encode_proposal_turns(texts, self.frame, topic)
        if self._continues and self.style == "chat":
            return prompts.encode_proposal_begun(texts, self.frame, topic)
        return prompts.encode_proposal(texts, self.options.num_new, self.style, self.frame, topic)

    def _stop(self, shown: int) -> tuple[str, ...]:
        return prompts.proposal_stop(shown, self.options.num_new, self.frame) if self._continues else ()
