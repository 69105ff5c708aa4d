"""The frame of the prompts: every word in them that comes from neither a task nor the model.

Each language has a file, `frames/LANGUAGE.yaml`. The prompts write the frame's words, and the parsers read them.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import msgspec

from selfinstruct import no_input
from selfinstruct.config.schema import PromptLanguage
from selfinstruct.records import SeedTask

Words = tuple[str, ...]
"""Words with one meaning: prompts write the first, parsers read all."""

LANGUAGES: tuple[PromptLanguage, ...] = get_args(PromptLanguage)
"""The languages that have a frame."""

_LEAST_HASHES = 3


class Frame(msgspec.Struct, frozen=True, forbid_unknown_fields=True, cache_hash=True):
    """The words of the prompts in one language.

    The sentences may hold {num_new}, {first} and {last} (of the proposed tasks), {yes}, {no}, {example}, {input},
    {output}, {label} and {no_input}: `sentence` fills them in.

    Attributes:
        language: its name in English.
        scripts: the scripts that it is written in, as `script_of` names them.
        colon: the mark after a word that opens a line: ":" in English, "：" in Chinese, " :" in French.
        space: what separates such a word from its number, and the colon from the text; may be empty.
        task: opens a task.
        instruction: opens an instruction; only read.
        item: may open the tasks of a list that begins with the right number; only read.
        ordinals: numbers that open a task, with {n}: "第{n}题"; only read.
        example: opens an example of a task.
        input: opens an example's input.
        output: opens an example's output.
        label: opens the output of a classification task's example.
        classification: opens the answer to the question whether a task is a classification task.
        text: opens a text that may be a task or not.
        is_task: opens the answer to the question whether it is one.
        answer: may open an answer; only read.
        yes: an answer.
        no: an answer.
        no_input: what is written in place of an input where there is none (`selfinstruct/no_input.yaml`).
        no_output: the same for an output.
        to_fill_in: a text in brackets that begins or ends so is to be replaced by another: "[your answer here]".
        proposal_header: the first paragraph of a proposal's prompt.
        proposal_ask: what a chat model is asked to do there.
        proposal_turn_ask: what it is asked in each turn, where examples are earlier turns.
        proposal_begun_ask: what it is asked where its own turn begins with the list.
        classification_header: the first paragraph of a classification's prompt.
        classification_ask: what a chat model is asked to do there.
        is_task_header: the first paragraph of the question whether a text is a task.
        input_first_header: the first paragraph of a prompt for instances, input first.
        input_first_ask: what a chat model is asked to do there.
        output_first_header: the first paragraph of a prompt for instances, output first.
        output_first_ask: what a chat model is asked to do there.
        input_only_header: the first paragraph of a prompt for inputs alone.
        input_only_ask: what a chat model is asked to do there.
        examples: tasks of both kinds to show where the user's seeds hold none; empty: the packaged seed tasks.
        mark: is written before each word that opens a line; empty, or a heading's number signs (see `marked`).
    """

    language: str
    scripts: Words
    colon: str
    space: str
    task: Words
    instruction: Words
    example: Words
    input: Words
    output: Words
    label: Words
    classification: Words
    text: Words
    is_task: Words
    answer: Words
    yes: Words
    no: Words
    no_input: Words
    no_output: Words
    to_fill_in: Words
    proposal_header: str
    proposal_ask: str
    proposal_turn_ask: str
    proposal_begun_ask: str
    classification_header: str
    classification_ask: str
    is_task_header: str
    input_first_header: str
    input_first_ask: str
    output_first_header: str
    output_first_ask: str
    input_only_header: str
    input_only_ask: str
    item: Words = ()
    ordinals: Words = ()
    examples: tuple[SeedTask, ...] = ()
    mark: str = ""

    def heading(self, words: Words, number: int | None = None) -> str:
        """Return a word that opens a line, with its number: "Example 1"."""
        return f"{self.mark}{words[0]}" if number is None else f"{self.mark}{words[0]}{self.space}{number}"

    def opening(self, words: Words, number: int | None = None) -> str:
        """Return the same with its colon: "Input:", "Task 9:"."""
        return f"{self.heading(words, number)}{self.colon}"

    def line(self, words: Words, text: str, number: int | None = None) -> str:
        """Return the same with a text: "Input: The tram was late again.".

        Args:
            words: of the label.
            text: what follows it.
            number: of the label; None: it has none.
        """
        return f"{self.opening(words, number)}{self.space}{text}"

    def sentence(self, template: str, **numbers: object) -> str:
        """Return a sentence of the frame with its words and these numbers filled in."""
        words = {name: self.opening(getattr(self, name)) for name in ("input", "output", "label")}
        answers = {"yes": self.yes[0], "no": self.no[0], "no_input": self.no_input[0]}
        return template.format(example=self.heading(self.example, 1), **words, **answers, **numbers)

    def marked(self, texts: Iterable[str]) -> Frame:
        """Return the frame whose words open a line as a heading does ("### Input:"), with a mark that no line has.

        Args:
            texts: what will be shown; no line of them begins with the mark.
        """
        begun = {len(line) - len(line.lstrip("#")) for text in texts for line in map(str.lstrip, text.splitlines())}
        hashes = next(n for n in range(_LEAST_HASHES, len(begun) + _LEAST_HASHES + 1) if n not in begun)
        return msgspec.structs.replace(self, mark="#" * hashes + " ")


@functools.cache
def load_frame(language: PromptLanguage = "en") -> Frame:
    """Return the frame of a language, by its ISO 639-1 code."""
    path = Path(__file__).parent / "frames" / f"{language}.yaml"
    return msgspec.convert({**msgspec.yaml.decode(path.read_bytes()), "no_input": no_input.words()[language]}, Frame)
