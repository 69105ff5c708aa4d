"""The training text: documents in the formats of `selfinstruct.generation.prompts`, from the families and the seeds.

A document is a prompt and its continuation. The prompt is one that a run would send (seed tasks and their instances).
The continuation is a good completion (tasks of the families, with right instances). The model is trained only on
continuations: else a model of this size would use its capacity to memorise the seeds.

Documents have the four forms of the prompts, or are worksheets (lists of tasks with their answers, with labels that
change from document to document), plain prose, or repeated text. There is no chat format, and no instruction with its
answer alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from selfinstruct.formats.seed_tasks import load_seed_tasks
from selfinstruct.generation.examples import can_be_shown
from selfinstruct.generation.frame import load_frame
from selfinstruct.generation.prompts import (
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

ENGLISH = load_frame()

INSTRUCTIONS_PER_FAMILY = 1000
"""Different instructions of each family in the training text. Far more are possible: see `instructions.py`."""

LONGEST_PROMPT_CHARACTERS = 5500
"""About 1,600 tokens: this leaves room for new tasks in a context of 2,048."""


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
"""Labels of worksheets. All pairs are equally likely, so that an answer does not depend on a particular word."""


@dataclass(frozen=True, slots=True)
class Document:
    """A training document. The loss covers only the text after the prompt.

    Attributes:
        prompt: the beginning of `text`, without loss.
        text: the whole document.
        answers: (start, end) of the answers in `text` that `build.py` cannot find by their labels.
    """

    prompt: str
    text: str
    answers: tuple[tuple[int, int], ...] = ()


def instructions(seed: int = 0) -> tuple[tuple[str, Request], ...]:
    """Return every instruction of a family that the training text may contain, with its request."""
    return _instructions(seed)


@cache  # Without a default value: `f()` and `f(0)` would be computed twice.
def _instructions(seed: int) -> tuple[tuple[str, Request], ...]:
    rng = random.Random(f"instructions {seed}")
    requests: dict[str, Request] = {}
    for family in FAMILIES:
        # Some families have little room for variation: stop after enough tries.
        own: dict[str, Request] = {}
        for _ in range(2 * INSTRUCTIONS_PER_FAMILY):
            text, request = compose(family, rng)
            own.setdefault(text, request)
            if len(own) == INSTRUCTIONS_PER_FAMILY:
                break
        requests |= own
    return tuple(requests.items())


def training_seeds() -> list[SeedTask]:
    """Return the packaged seed tasks that can be shown in a prompt."""
    return [task for task in load_seed_tasks(["seed_tasks"]) if can_be_shown(task, ENGLISH)]


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
        """Yield documents without end.

        Args:
            stream: names one of many independent streams.
            long: make documents that fill a context of about 2,000 tokens, as prompts with ten seed tasks do.
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
        else:  # The first prompts of a run hold only seeds, and users may set other numbers.
            shown = [task.instruction for task in rng.sample(self._seeds, rng.randint(2, 10))]
        new = [text for text, _ in self._pick(rng, rng.choice((8, 8, 12, 20, 28)))]
        prompt = _text(encode_proposal(shown, len(new), "completion", ENGLISH))
        whole = _text(encode_proposal([*shown, *new], 1, "completion", ENGLISH))
        return Document(prompt, whole[: whole.rindex("\nTask ")])

    def _input_first(self, rng: random.Random, long: bool) -> Document:
        shown = self._shown(rng, self._seeds, long)
        tasks = [self._task(rng, *picked) for picked in self._pick(rng, 14 if long else 8)]
        return _document(lambda examples: encode_input_first("", examples, "completion", ENGLISH), shown, tasks)

    def _output_first(self, rng: random.Random, long: bool) -> Document:
        shown = self._shown(rng, self._label_seeds, long)
        tasks = [
            self._task(rng, *picked, labels=True) for picked in self._pick(rng, 14 if long else 8, self._label_families)
        ]
        return _document(lambda examples: encode_output_first("", examples, "completion", ENGLISH), shown, tasks)

    def _classification(self, rng: random.Random, long: bool) -> Document:
        most = 14 if long else 4
        shown = rng.sample(self._label_seeds, rng.randint(1, most)) + rng.sample(self._seeds, rng.randint(1, most))
        rng.shuffle(shown)
        tasks = [SeedTask("", text, (), request.family.is_classification) for text, request in self._pick(rng, 12)]
        return _document(lambda examples: encode_classification("", examples, "completion", ENGLISH), shown, tasks)

    def _worksheet(self, rng: random.Random, long: bool) -> Document:
        """Return tasks with one instance each, with labels of this document's own; the first two are the prompt."""
        label, input_label, answer = rng.choice(_QUESTION), rng.choice(_INPUT), rng.choice(_ANSWER)
        after, between = rng.choice((": ", ":\n", "\n", " ")), rng.choice(("\n", "\n\n"))
        apart = rng.choice(("\n\n", "\n\n\n", "\n---\n", "\n* * *\n"))
        text, prompt, answers = "", "", list[tuple[int, int]]()
        for k, picked in enumerate(self._pick(rng, 24 if long else 12)):
            (instance, *_) = self._task(rng, *picked).instances
            text += (label + after if label else "") + picked[0]
            if instance.input:
                text += between + (input_label + after if input_label else "") + instance.input
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
        """Return random words and sentences, each passage repeated later.

        A small model learns to copy fastest from this. Without it the model wrote well-formed examples whose outputs
        ignored their inputs.
        """
        passages = []
        for _ in range(rng.randint(3, 5)):
            words = rng.sample(PLAIN_WORDS, rng.randint(4, 20))
            passages.append(rng.choice((", ", " ")).join(words) if rng.random() < 0.7 else sentences.make(rng))
        again = [*passages, *rng.sample(passages, len(passages))]
        return Document("", "\n".join(again))

    # ------------------------------------------------------------------------------------------ their parts

    def _shown(self, rng: random.Random, tasks: list[SeedTask], long: bool) -> list[SeedTask]:
        """Return some seed tasks for a prompt: up to twelve for a long one, at most two for another."""
        room = rng.randint(1500, LONGEST_PROMPT_CHARACTERS) if long else 1200
        shown: list[SeedTask] = []
        for task in rng.sample(tasks, rng.randint(5, 12) if long else rng.choice((0, 0, 1, 1, 2))):
            room -= len(_text(encode_input_first("", [task], "completion", ENGLISH)))
            if room < 0:
                break
            shown.append(task)
        return shown

    def _pick(
        self, rng: random.Random, count: int, pools: list[list[tuple[str, Request]]] | None = None
    ) -> list[tuple[str, Request]]:
        """Return instructions of different families; fewer than `count` if there are not enough families."""
        pools = pools or self._families
        chosen = rng.sample(pools, min(count, len(pools)))
        return [rng.choice(pool) for pool in chosen]

    def _task(self, rng: random.Random, text: str, request: Request, *, labels: bool = False) -> SeedTask:
        """Return the instruction with some instances; with `labels`, one instance for each different answer."""
        wanted = rng.choice((2, 2, 3, 3, 4)) if request.family.input_names else 1
        instances: dict[str, Instance] = {}
        for _ in range(10):
            instance = request.instance(rng)
            if instance is not None:
                instances.setdefault(instance.output if labels else instance.input, instance)
            if len(instances) >= wanted:
                break
        return SeedTask("", text, tuple(instances.values()), request.family.is_classification)


def _text(prompt: object) -> str:
    assert isinstance(prompt, str), "completion prompts are text"
    return prompt


def _document(
    encode: Callable[[Sequence[SeedTask]], object], shown: Sequence[SeedTask], tasks: Sequence[SeedTask]
) -> Document:
    """Encode seeds and tasks as the examples of one prompt, and cut off the empty question at its end."""
    prompt, whole = _text(encode(shown)), _text(encode([*shown, *tasks]))
    return Document(prompt[: prompt.rindex("Task:")], whole[: whole.rindex("\n\nTask:")])
