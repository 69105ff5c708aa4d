"""The interface of an engine. The pipeline uses engines only through this interface, vLLM included."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from selfinstruct.config.section import Sampling
from selfinstruct.engines.structured import Fields
from selfinstruct.records import Completion, Prompt


@dataclass(frozen=True, slots=True)
class Request:
    """One question to the engine.

    Attributes:
        key: names the request in errors and logs (`proposal/12`); unique among those in flight.
        prompt: a string to be continued, or chat messages.
        sampling: how to sample.
        stop: stop strings; generation ends before the first of them.
        ends_before: likewise, the first match of a pattern (see `endings.py`).
        choices: if set, the answer is exactly one of these strings, where the engine can restrict a model to them.
        fields: likewise, the answer is a JSON object with one of these values for each key.
        stop_loops: whether the answer also ends once it only repeats itself, where the engine sees it being written.
        thinking: whether a chat model may think before it answers, where its template has that.
        samples: how many answers to sample, at a temperature above 0; those after the first are `Completion.further`.
    """

    key: str
    prompt: Prompt
    sampling: Sampling
    stop: tuple[str, ...] = ()
    choices: tuple[str, ...] | None = None
    stop_loops: bool = False
    ends_before: re.Pattern[str] | None = None
    thinking: bool = False
    samples: int = 1
    fields: Fields | None = None


class RequestFailed(Exception):
    """One request cannot be answered (too long, refused, timed out); others can. `reason` goes into the journal."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class Engine(Protocol):
    """Answers requests concurrently, without a limit on their number.

    Raises of `generate`: `RequestFailed` for one request, `errors.EngineError` when the engine itself has ended.
    """

    context_length: int
    """Tokens of prompt and answer together, at most."""

    capacity: int
    """Requests that it computes at once; all others wait in it."""

    has_chat_template: bool
    """Whether the model has learnt the chat template that its tokenizer brings (see `engines/chat_templates.py`)."""

    brings_chat_template: bool
    """Whether its tokenizer brings a chat template, even if the model has not learnt it."""

    tells_logprobs: bool
    """Whether an answer to a request with choices brings their log-probabilities."""

    def count_tokens(self, prompt: Prompt) -> int:
        """Return the number of tokens of the prompt, chat template and special tokens included."""
        ...

    async def generate(self, request: Request) -> Completion:
        """Answer one request. Cancelling the call aborts the request in the engine."""
        ...

    def progress(self) -> int:
        """Return a number that changes while requests advance (a token count); a constant if unknown."""
        ...

    async def close(self) -> None:
        """Free memory and end processes. The engine cannot be used afterwards. A second call does nothing."""
        ...


def most_in_flight(wanted: int | None, engine: Engine) -> int:
    """Return how many requests to give to the engine at once.

    Args:
        wanted: the option `max_in_flight`.
        engine: asked for its capacity. A quarter more waits in it, so that a place that becomes free is taken at once.
    """
    return wanted or engine.capacity + engine.capacity // 4
