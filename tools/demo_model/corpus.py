"""The training text: documents in the formats of `selfinstruct.generation.prompts`, made of
the families and of the seeds.

A document is a prompt and its continuation. The prompt is what a run would show (seed tasks and their instances), the
continuation what it hopes for (tasks of the families, with right instances). Only continuations are learnt: a model
of this size would otherwise spend itself on knowing the seeds by heart.

Documents come in the four forms of the prompts, as lists and blocks one after another, as worksheets (lists of tasks
with their answers, in labels that change from document to document), and as plain prose. There is no chat format, and
no bare instruction with its answer.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from selfinstruct.formats.seed_tasks import load_seed_tasks
from selfinstruct.generation.prompts import (
    can_be_shown,
    encode_classification,
    encode_input_first,
    encode_output_first,
    encode_proposal,
)
from selfinstruct.records import Instance, SeedTask
from tools.demo_model import sentences
from tools.demo_model.families import FAMILIES
from tools.demo_model.instructions import Request, compose
from tools.demo_model.lexicon import DESCRIPTIONS, NAMES, PLAIN_WORDS
from tools.demo_model.wording import one_article

INSTRUCTIONS_PER_FAMILY = 1000
"""Different instructions of each family in the training text. Many times more are possible: see `instructions.py`."""

LONGEST_PROMPT_CHARACTERS = 5500
"""About 1,600 tokens: leaves room for new tasks in a context of 2,048."""


_QUESTION = (
    "Exercise/Question/Q/Assignment/Job/Request/Problem/To do/What to do/Item/Puzzle/Order/[question]/[exercise]/<q>/"
    "<item>/## Exercise/## Question/* Question/(question)/=== Problem/Please/Challenge/No./"
).split("/")
_INPUT = "/Given/Material/Text/Data/With/Source/Here/[given]/[text]/<given>/<text>/Words/About/## Given/(given)".split(
    "/"
)
_ANSWER = (
    "Answer/A/Solution/Result/Reply/Done/Correct/Key/Solved/[answer]/[solution]/<a>/<answer>/## Answer/## Solution/"
    "* Answer/(answer)/=== Solution/->/=>/Yours/Written"
).split("/")
"""Labels of worksheets. Every pair is as good as another, so that an answer does not depend on a particular word."""


@dataclass(frozen=True, slots=True)
class Document:
    """A training document; loss is taken on the text after the prompt only.

    Attributes:
        prompt: the beginning of `text` that is not learnt.
        text: the whole document.
        answers: (start, end) of the answers in `text` that its layout does not give away (see `build.py`).
    """

    prompt: str
    text: str
    answers: tuple[tuple[int, int], ...] = ()


@cache
def instructions(seed: int = 0) -> tuple[tuple[str, Request], ...]:
    """Every family instruction that the training text may hold, and what it asks for."""
    rng = random.Random(f"instructions {seed}")
    found: dict[str, Request] = {}
    for family in FAMILIES:
        # Some families have little room for variation: stop after enough tries.
        own: dict[str, Request] = {}
        for _ in range(2 * INSTRUCTIONS_PER_FAMILY):
            text, request = compose(family, rng)
            own.setdefault(text, request)
            if len(own) == INSTRUCTIONS_PER_FAMILY:
                break
        found |= own
    return tuple(found.items())


def training_seeds() -> list[SeedTask]:
    """The packaged seed tasks that can be shown in a prompt."""
    return [task for task in load_seed_tasks(["seed_tasks"]) if can_be_shown(task)]


class Corpus:
    """Training documents, the same for the same seed."""

    def __init__(self, seed_tasks: Sequence[SeedTask], seed: int = 0) -> None:
        self._seeds = list(seed_tasks)
        self._label_seeds = [task for task in seed_tasks if task.is_classification]
        by_family: dict[str, list[tuple[str, Request]]] = {}
        for text, request in instructions(seed):
            by_family.setdefault(request.family.name, []).append((text, request))
        self._families = list(by_family.values())
        self._label_families = [pool for pool in self._families if pool[0][1].family.is_classification]
        self._seed = seed

    def documents(self, stream: str = "", *, long: bool = False) -> Iterator[Document]:
        """Documents without end.

        Args:
            stream: names one of many independent streams.
            long: documents that fill a context of about 2,000 tokens, as prompts with ten seed tasks do.
        """
        rng = random.Random(f"documents {self._seed} {stream} {long}")
        kinds: dict[Callable[[random.Random, bool], Document], float] = {
            self._proposals: 0.1 if long else 0.2,
            self._input_first: 0.35 if long else 0.28,
            self._worksheet: 0.25 if long else 0.3,
            self._output_first: 0.15 if long else 0.1,
            self._classification: 0.11 if long else 0.06,
            self._prose: 0.0 if long else 0.02,
            self._echo: 0.04,
        }
        while True:
            (kind,) = rng.choices(list(kinds), list(kinds.values()))
            yield kind(rng, long)

    # ------------------------------------------------------------------------------------------ the forms

    def _proposals(self, rng: random.Random, long: bool) -> Document:
        if rng.random() < 0.7:
            shown = [task.instruction for task in rng.sample(self._seeds, 6)] + [text for text, _ in self._pick(rng, 2)]
            rng.shuffle(shown)
        else:  # The first prompts of a run hold seeds alone, users may ask for other numbers.
            shown = [task.instruction for task in rng.sample(self._seeds, rng.randint(2, 10))]
        new = [text for text, _ in self._pick(rng, rng.choice((8, 8, 12, 20, 28)))]
        prompt = _text(encode_proposal(shown, len(new), "completion"))
        whole = _text(encode_proposal([*shown, *new], 1, "completion"))
        return Document(prompt, whole[: whole.rindex("\nTask ")])

    def _input_first(self, rng: random.Random, long: bool) -> Document:
        shown = self._shown(rng, self._seeds, long)
        tasks = [self._task(rng, *picked) for picked in self._pick(rng, 14 if long else 8)]
        return _document(lambda examples: encode_input_first("", examples, "completion"), shown, tasks)

    def _output_first(self, rng: random.Random, long: bool) -> Document:
        shown = self._shown(rng, self._label_seeds, long)
        tasks = [
            self._task(rng, *picked, labels=True) for picked in self._pick(rng, 14 if long else 8, self._label_families)
        ]
        return _document(lambda examples: encode_output_first("", examples, "completion"), shown, tasks)

    def _classification(self, rng: random.Random, long: bool) -> Document:
        most = 14 if long else 4
        shown = rng.sample(self._label_seeds, rng.randint(1, most)) + rng.sample(self._seeds, rng.randint(1, most))
        rng.shuffle(shown)
        tasks = [SeedTask("", text, (), request.family.is_classification) for text, request in self._pick(rng, 12)]
        return _document(lambda examples: encode_classification("", examples, "completion"), shown, tasks)

    def _worksheet(self, rng: random.Random, long: bool) -> Document:
        """Tasks with one instance each, in labels that only this document has; the first two show them, unlearnt."""
        label, given, answer = rng.choice(_QUESTION), rng.choice(_INPUT), rng.choice(_ANSWER)
        after, between = rng.choice((": ", ":\n", "\n", " ")), rng.choice(("\n", "\n\n"))
        apart = rng.choice(("\n\n", "\n\n\n", "\n---\n", "\n* * *\n"))
        text, prompt, answers = "", "", list[tuple[int, int]]()
        for k, picked in enumerate(self._pick(rng, 24 if long else 12)):
            (instance, *_) = self._task(rng, *picked).instances
            text += (label + after if label else "") + picked[0]
            if instance.input:
                text += between + (given + after if given else "") + instance.input
            text += "\n" + answer + after
            answers.append((len(text), len(text) + len(instance.output)))
            text += instance.output + apart
            if k == 1:
                prompt = text
        return Document(prompt, text.removesuffix(apart), tuple(span for span in answers if span[0] >= len(prompt)))

    def _prose(self, rng: random.Random, long: bool) -> Document:
        lines = [sentences.make(rng) for _ in range(rng.randint(4, 10))]
        for thing in rng.sample(list(DESCRIPTIONS), 2):
            what, does = DESCRIPTIONS[thing]
            lines.append(one_article(f"{rng.choice(NAMES)} has a {thing}. It is {what}, and it {does}."))
        rng.shuffle(lines)
        return Document("", " ".join(lines))

    def _echo(self, rng: random.Random, long: bool) -> Document:
        """Random words and sentences, each passage said again later: nothing teaches a small model to copy as fast.

        Without it the model wrote well-formed examples whose outputs ignored their inputs.
        """
        passages = []
        for _ in range(rng.randint(3, 5)):
            words = rng.sample(PLAIN_WORDS, rng.randint(4, 20))
            passages.append(rng.choice((", ", " ")).join(words) if rng.random() < 0.7 else sentences.make(rng))
        again = [*passages, *rng.sample(passages, len(passages))]
        return Document("", "\n".join(again))

    # ------------------------------------------------------------------------------------------ their parts

    def _shown(self, rng: random.Random, tasks: list[SeedTask], long: bool) -> list[SeedTask]:
        """Some seed tasks for a prompt: up to twelve in a long one, none to two in another."""
        room = rng.randint(1500, LONGEST_PROMPT_CHARACTERS) if long else 1200
        shown: list[SeedTask] = []
        for task in rng.sample(tasks, rng.randint(5, 12) if long else rng.choice((0, 0, 1, 1, 2))):
            room -= len(_text(encode_input_first("", [task], "completion")))
            if room < 0:
                break
            shown.append(task)
        return shown

    def _pick(
        self, rng: random.Random, count: int, pools: list[list[tuple[str, Request]]] | None = None
    ) -> list[tuple[str, Request]]:
        """Instructions of different families, as far as there are enough."""
        pools = pools or self._families
        chosen = rng.sample(pools, min(count, len(pools)))
        return [rng.choice(pool) for pool in chosen]

    def _task(self, rng: random.Random, text: str, request: Request, *, labels: bool = False) -> SeedTask:
        """The instruction with some instances; with `labels` one for each answer that turns up first."""
        wanted = rng.choice((2, 2, 3, 3, 4)) if request.family.given else 1
        found: dict[str, Instance] = {}
        for _ in range(10):
            instance = request.instance(rng)
            if instance is not None:
                found.setdefault(instance.output if labels else instance.input, instance)
            if len(found) >= wanted:
                break
        return SeedTask("", text, tuple(found.values()), request.family.is_classification)


def _text(prompt: object) -> str:
    assert isinstance(prompt, str), "completion prompts are text"
    return prompt


def _document(
    encode: Callable[[Sequence[SeedTask]], object], shown: Sequence[SeedTask], tasks: Sequence[SeedTask]
) -> Document:
    """Encode seeds and tasks as the examples of one prompt, and cut off the empty question at its end."""
    prompt, whole = _text(encode(shown)), _text(encode([*shown, *tasks]))
    return Document(prompt[: prompt.rindex("Task:")], whole[: whole.rindex("\n\nTask:")])
