"""An engine that answers from a script: for tests, and for trying a configuration without a model.

It records every request. The answer depends on the whole prompt, so any difference between two runs becomes visible.
Each answer can take a random time.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from msgspec import structs

from selfinstruct.engines.base import Request, RequestFailed
from selfinstruct.engines.endings import ending
from selfinstruct.engines.samples import joined, singles
from selfinstruct.errors import EngineError
from selfinstruct.records import Completion, Prompt

Answer = Completion | BaseException
Script = Callable[[Request], Answer]


class ScriptedEngine:
    """Answers `script(request)`; an exception that the script returns is raised.

    Args:
        script: the answers.
        capacity: how many requests it claims to compute at once; it answers all.
        context_length: tokens of prompt and answer; a token is a whitespace-separated word here.
        has_chat_template: whether the engine claims a chat template.
        tells_logprobs: whether it claims that its answers bring log-probabilities of choices.
        latency: longest time of an answer, in seconds; drawn uniformly. 0: answer at the next turn of the event loop.
        seed: of the latencies.

    Attributes:
        history: every request, in the order of asking.
    """

    def __init__(
        self,
        script: Script,
        *,
        capacity: int = 256,
        context_length: int = 1_000_000,
        has_chat_template: bool = False,
        tells_logprobs: bool = False,
        latency: float = 0.0,
        seed: int | None = None,
    ) -> None:
        self.capacity = capacity
        self.context_length = context_length
        self.has_chat_template = self.brings_chat_template = has_chat_template
        self.tells_logprobs = tells_logprobs
        self.history: list[Request] = []
        self._script = script
        self._latency = latency
        self._random = random.Random(seed)
        self._closed = False

    def count_tokens(self, prompt: Prompt) -> int:
        """Return the number of whitespace-separated words of the prompt."""
        text = prompt if isinstance(prompt, str) else " ".join(message["content"] for message in prompt)
        return len(text.split())

    async def generate(self, request: Request) -> Completion:
        """Return the script's answer after a random time."""
        if self._closed:
            raise EngineError("the scripted engine is closed")
        if self.count_tokens(request.prompt) + request.sampling.max_tokens > self.context_length:
            raise RequestFailed("prompt_too_long", request.key)
        self.history.append(request)
        await asyncio.sleep(self._random.uniform(0, self._latency) if self._latency else 0)
        answers: list[Completion] = []
        for single in singles(request):
            answer = self._script(single)
            if isinstance(answer, BaseException):
                raise answer
            text, _ = ending(request, "", answer.text, answer.finish_reason)
            cut = text != answer.text
            answers.append(structs.replace(answer, text=text, finish_reason="stop") if cut else answer)
        return joined(answers)

    def progress(self) -> int:
        """Return 0: only whole answers can be observed."""
        return 0

    async def close(self) -> None:
        """Refuse further requests."""
        self._closed = True
