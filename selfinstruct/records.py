"""The data types of the project: what flows from the seed tasks to the exported dataset. Read this file first.

    SeedTask ──> Request ──> Completion ──> Candidate ──> Instruction ──> Instance

Everything here is plain, immutable data. `Request` is defined with the engines (`engines/base.py`). What a journal has
by the hundred thousand is a `Struct`, which is made ten times as fast as a frozen dataclass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from msgspec import Struct

Style = Literal["completion", "chat"]

Message = dict[str, str]


class OpenTurn(list[Message]):
    """A conversation whose last message is only begun: the model continues it, whether it is the user's or its own."""


Prompt = str | list[Message]

Tokenizer = Literal["words", "characters", "rouge_score"]
"""How the novelty filter splits texts into words: `selfinstruct.novelty.tokenize` says what each does."""

FinishReason = Literal["stop", "length", "repetition", "abort"]

TRAIN, SEEN, UNSEEN = "train", "validation_seen", "validation_unseen"
SPLITS = (TRAIN, SEEN, UNSEEN)
"""The splits of a dataset: training rows, further instances of the training tasks, and tasks held out as a whole."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """A demand on an answer that a program can check (`selfinstruct/constraints/`).

    Attributes:
        type: the name of its type, as `family/type`.
        parameters: of the type, as JSON values.
        text: the sentence that asks for it.
    """

    type: str
    parameters: dict[str, Any] = field(hash=False)
    text: str


class Instance(Struct, frozen=True, gc=False):
    """One example of a task: an input (empty if the task needs none) and its output.

    Attributes:
        thinking: what the model thought before it wrote the output; empty where that is not kept.
        constraints: what was demanded of the output beside the instruction.
    """

    input: str
    output: str
    thinking: str = ""
    constraints: tuple[Constraint, ...] = ()


WrittenBy = Literal["person", "program", "model", "unknown"]
"""Who wrote a task; `unknown` where neither its file nor its family says it."""


@dataclass(frozen=True, slots=True)
class Quota:
    """The share of the seeds in prompts that ask for new tasks which the tasks of one file have.

    Attributes:
        file: as it was given.
        share: in (0, 1].
    """

    file: str
    share: float


@dataclass(frozen=True, slots=True)
class SeedTask:
    """A task in the Self-Instruct schema, with `category` and what evaluation needs to know about it.

    Attributes:
        quota: of its file; None: it shares with the others of no quota what the quotas leave.
        written_by: its author. The verdict uses no task that a program or a model is known to have written.
        paraphrases: the instruction in other words; answers to them should agree.
    """

    id: str
    instruction: str
    instances: tuple[Instance, ...]
    is_classification: bool
    name: str = ""
    category: str = ""
    written_by: WrittenBy = "unknown"
    paraphrases: tuple[str, ...] = ()
    quota: Quota | None = field(default=None, compare=False)


class Instruction(Struct, frozen=True, gc=False):
    """A machine-written instruction that was accepted into the pool.

    `id` is `p<proposal>-<position>`: the number of the proposal that wrote it, and its position among the
    candidates of that proposal. So equal answers of the engine give equal ids. `depth` says how often it was changed
    from a first task (`proposers.evolve`), `category` is that of the seeds that it was made after, if they have one.
    """

    id: str
    text: str
    proposal: int
    depth: int = 0
    category: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """An instruction with its instances, from any source; `origin` is `generated`, `earlier` or `seed`."""

    id: str
    instruction: str
    instances: tuple[Instance, ...]
    is_classification: bool
    origin: str


class Sample(Struct, frozen=True, gc=False):
    """One of several answers to a request."""

    text: str
    finish_reason: FinishReason


class Tags(Struct, frozen=True, gc=False):
    """What a model says a task is about: one of `TAG_VALUES` for each field.

    Attributes:
        category: what the answer is mainly made of.
        difficulty: for an educated adult.
        input: what the task gives to work on, beside the instruction.
        language: that the answer is to be in.
    """

    category: str
    difficulty: str
    input: str
    language: str


TAG_VALUES: dict[str, tuple[str, ...]] = {
    "category": (
        *("writing", "brainstorming", "question answering", "explanation", "advice", "summarization", "rewriting"),
        *("translation", "classification", "extraction", "mathematics", "reasoning", "coding", "planning", "other"),
    ),
    "difficulty": ("easy", "medium", "hard"),
    "input": ("none", "text", "data", "code", "conversation"),
    "language": tuple(
        (
            "en aa ab ae af ak am an ar as av ay az ba be bg bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz "
            "ee el eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io "
            "is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn "
            "mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se "
            "sg si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo "
            "wa wo xh yi yo za zh zu"
        ).split()
    ),
}
"""What each field of `Tags` may be; languages are those of ISO 639-1."""


class Completion(Struct, frozen=True, gc=False):
    """The engine's answer to one request.

    `finish_reason` is vLLM's: `stop` (an end token or a stop string), `length` (cut at max_tokens), `repetition` (cut
    because it only repeated itself) or `abort`.
    Token counts are as the engine counted them; those of completions include all samples.
    `choice_logprobs` has the natural log-probability of each choice of the request, by the first token in which the
    choices differ. It is None where the request had no choices, or the engine does not tell.
    `cached_tokens` is how many prompt tokens the engine had in its prefix cache; None where it does not tell. It
    depends on what was asked before, so that the journal leaves it out.
    `further` has the samples after the first one, where the request asked for several.
    """

    text: str
    finish_reason: FinishReason
    prompt_tokens: int = 0
    completion_tokens: int = 0
    choice_logprobs: dict[str, float] | None = None
    further: tuple[Sample, ...] = ()
    cached_tokens: int | None = None

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Return every answer, in order."""
        return (Sample(self.text, self.finish_reason), *self.further)


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a candidate was rejected: a named reason, and the evidence for it (JSON values)."""

    reason: str
    evidence: dict[str, Any] = field(default_factory=dict)


def user_message(instruction: str, input_text: str) -> str:
    """Return the user's message to a tuned model: the instruction, then the input if it is not empty."""
    return f"{instruction}\n\n{input_text}" if input_text else instruction


def with_constraints(request: str, constraints: Sequence[Constraint]) -> str:
    """Return a request with the sentences of its constraints after it, in the same paragraph if it has but one.

    >>> with_constraints("Name a river", [Constraint("case/lower", {}, "Use small letters.")])
    'Name a river. Use small letters.'
    """
    if not constraints:
        return request
    text = request.rstrip()
    ends_openly = text[-1:].isalnum()
    between = "\n\n" if "\n" in text else ". " if ends_openly else " "
    return text + between + " ".join(constraint.text for constraint in constraints)
