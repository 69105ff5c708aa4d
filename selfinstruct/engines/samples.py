"""Several answers to one request: how they are gathered into one completion."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from msgspec import structs

from selfinstruct.console import console
from selfinstruct.engines.base import Request, RequestFailed
from selfinstruct.engines.endings import ending
from selfinstruct.errors import EngineError
from selfinstruct.records import Completion, Sample


def singles(request: Request) -> list[Request]:
    """Return a request for each answer, for an engine that samples one at a time.

    The first has the key of the whole.
    """
    keys = [request.key, *(f"{request.key}#{number}" for number in range(1, request.samples))]
    return [replace(request, key=key, samples=1) for key in keys]


def joined(completions: Sequence[Completion]) -> Completion:
    """Return one completion with the answers of several, whose prompt counts once."""
    return structs.replace(
        completions[0],
        completion_tokens=sum(completion.completion_tokens for completion in completions),
        further=tuple(Sample(completion.text, completion.finish_reason) for completion in completions[1:]),
    )


def written(answers: Sequence[Writing], prompt_tokens: int) -> Completion:
    """Return one completion with all answers.

    Args:
        answers: in order.
        prompt_tokens: of the prompt.

    Raises:
        EngineError: the engine is shutting down.
        RequestFailed: one of them has not ended, or otherwise than a whole answer does.
    """
    samples = [_sample(answer) for answer in answers]
    tokens = sum(len(answer.tokens) for answer in answers)
    return Completion(samples[0].text, samples[0].finish_reason, prompt_tokens, tokens, further=tuple(samples[1:]))


def _sample(answer: Writing) -> Sample:
    match answer.ended:
        case "stop" | "length" | "repetition":
            return Sample(answer.text, answer.ended)
        case "abort":  # No caller aborts requests that it waits for.
            raise EngineError("vLLM's engine was asked to end")
        case other:
            raise RequestFailed("aborted", f"finish_reason {other}")


@dataclass(slots=True)
class Writing:
    """An answer of vLLM while it is being written; parts that come after its end are left out.

    Attributes:
        text: what is written.
        tokens: its tokens.
        ended: vLLM's finish reason, or what `endings.py` says; None while it is written.
    """

    text: str = ""
    tokens: list[int] = field(default_factory=list)
    ended: str | None = None

    def add(self, part: Any, request: Request) -> None:
        """Add a part, vLLM's `CompletionOutput`, of an answer to a request."""
        if self.ended is None:
            self.text, self.ended = ending(request, self.text, part.text, part.finish_reason)
            self.tokens += part.token_ids


def seed_of(request: Request, llm: Any) -> int | None:
    """Return the seed that vLLM gets with a request; None for none.

    On a CPU it gets none: where vLLM computes a prompt in parts, it rewinds the request's random generator, which that
    of a CPU refuses, and the engine dies ("CPU Generator does not use offset", 0.32).
    """
    if not request.sampling.sampling_seed:
        return None
    device = getattr(getattr(llm, "vllm_config", None), "device_config", None)
    if getattr(device, "device_type", "") != "cpu":
        return stable_seed(request.key)
    _say_that_seeds_are_left_out()
    return None


@functools.cache
def _say_that_seeds_are_left_out() -> None:
    console.print("sampling_seed: vLLM on a CPU dies of seeds; they are left out, and samples differ from run to run")


def stable_seed(key: str) -> int:
    """Return a 31-bit seed made from the request's key, the same in every process."""
    return zlib.crc32(key.encode()) & 0x7FFFFFFF
