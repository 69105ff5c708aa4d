"""The frame of the prompts: every word in them that comes from neither a task nor the model.

Each language has a file, `frames/LANGUAGE.yaml`. The prompts write the frame's words, and the parsers read them.
"""

from __future__ import annotations

import functools
from pathlib import Path

import msgspec

Words = tuple[str, ...]
"""Words with one meaning: prompts write the first, parsers read all."""


class Frame(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The words of the prompts in one language.

    Attributes:
        language: its name in English.
        colon: the mark after a word that opens a line: ":" in English, "：" in Chinese, " :" in French.
        space: what stands between such a word and its number, and between the colon and the text; may be empty.
        task: opens a task.
        instruction: opens an instruction; only read.
        example: opens an example of a task.
        input: opens an example's input.
        output: opens an example's output.
        label: opens the output of a classification task's example.
        classification: opens the answer to the question whether a task is a classification task.
        answer: may stand before an answer; only read.
        yes: an answer.
        no: an answer.
        no_input: what models write in place of an input where there is none, in lower case; only read.
        no_output: likewise of an output.
        proposal_header: the first paragraph of a proposal's prompt.
        proposal_ask: what a chat model is asked to do there; with {num_new}, {first} and {last}.
        classification_header: likewise of a classification's prompt.
        classification_ask: likewise.
        input_first_header: likewise of a prompt for instances, input first.
        input_first_ask: likewise.
        output_first_header: likewise of a prompt for instances, output first.
        output_first_ask: likewise.
    """

    language: str
    colon: str
    space: str
    task: Words
    instruction: Words
    example: Words
    input: Words
    output: Words
    label: Words
    classification: Words
    answer: Words
    yes: Words
    no: Words
    no_input: Words
    no_output: Words
    proposal_header: str
    proposal_ask: str
    classification_header: str
    classification_ask: str
    input_first_header: str
    input_first_ask: str
    output_first_header: str
    output_first_ask: str

    def numbered(self, words: Words, number: int) -> str:
        """Return a word with its number: "Example 1"."""
        return f"{words[0]}{self.space}{number}"

    def line(self, opening: str, text: str) -> str:
        """Return a line of a prompt: "Input: the text"."""
        return f"{opening}{self.colon}{self.space}{text}"


@functools.cache
def load_frame(language: str = "en") -> Frame:
    """Return the frame of a language, by its ISO 639-1 code."""
    path = Path(__file__).parent / "frames" / f"{language}.yaml"
    return msgspec.yaml.decode(path.read_bytes(), type=Frame)
