"""The nouns of the house, read first: what flows from seeds to the exported dataset.

    SeedTask ──> Request ──> Completion ──> Candidate ──> Instruction ──> Instance

Everything here is plain, immutable data. `Request` lives with the engines (`engines/base.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Style = Literal["completion", "chat"]

Message = dict[str, str]

Prompt = str | list[Message]


FinishReason = Literal["stop", "length", "abort"]

TRAIN, SEEN, UNSEEN = "train", "validation_seen", "validation_unseen"
SPLITS = (TRAIN, SEEN, UNSEEN)
"""The splits of a dataset: what is trained on, further instances of those tasks, and tasks held out as a whole."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One example of a task: an input (empty where the task needs none) and its output."""

    input: str
    output: str


WrittenBy = Literal["person", "program", "model"]


@dataclass(frozen=True, slots=True)
class SeedTask:
    """A task in the Self-Instruct schema plus `category`, and what evaluation wants to know of it.

    `written_by` is a person unless the file says otherwise; a verdict rests on no other tasks. `paraphrases` say the
    instruction in other words: answers to them should agree.
    """

    id: str
    instruction: str
    instances: tuple[Instance, ...]
    is_classification: bool
    name: str = ""
    category: str = ""
    written_by: WrittenBy = "person"
    paraphrases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Instruction:
    """A machine-written instruction that was accepted into the pool.

    `id` is `p<proposal>-<position>`: the number of the proposal that wrote it and its place among that
    proposal's candidates, so that ids are the same whenever the engine's answers are.
    """

    id: str
    text: str
    proposal: int


@dataclass(frozen=True, slots=True)
class Task:
    """An instruction with its instances, wherever it comes from; `origin` is `generated`, `earlier` or `seed`."""

    id: str
    instruction: str
    instances: tuple[Instance, ...]
    is_classification: bool
    origin: str


@dataclass(frozen=True, slots=True)
class Completion:
    """What the engine answered to one request.

    `finish_reason` is vLLM's: `stop` (an end token or a stop string), `length` (cut at max_tokens) or `abort`.
    Token counts are as the engine counted them.
    """

    text: str
    finish_reason: FinishReason
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a candidate was not taken: a named reason, and the evidence that decided it (JSON values)."""

    reason: str
    evidence: dict[str, Any] = field(default_factory=dict)


def user_message(instruction: str, given: str) -> str:
    """What the user says to a tuned model: the instruction, then the input where there is one."""
    return f"{instruction}\n\n{given}" if given else instruction
