"""An OpenAI-compatible endpoint as an engine: for a judge that runs elsewhere (`vllm serve`, a provider).

The key is read only from the environment (`OPENAI_API_KEY`) and is never written. The client is OpenAI's own,
which waits and tries again when the server is busy.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from selfinstruct.engines.base import Request, RequestFailed
from selfinstruct.errors import ConfigError, EngineError
from selfinstruct.records import Completion, FinishReason, Prompt

_AT_ONCE = 32
_RETRIES = 6
_TIMEOUT_S = 600.0
_OTHER_NAMES = {"max_tokens": "max_completion_tokens", "temperature": ""}
"""The name to try next when a server refuses an option; "" leaves the option out."""


class Endpoint:
    """An engine that sends chat requests to an endpoint. Make it with `await Endpoint.connect(...)`.

    Only the server can count tokens, and only it knows its context. So `count_tokens` counts words, and
    `context_length` is no limit.
    """

    capacity = _AT_ONCE
    context_length = 1 << 30
    has_chat_template = True
    brings_chat_template = True

    def __init__(self, client: Any, model: str) -> None:
        self._client = client
        self._model = model
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._names: dict[str, str] = {}

    @classmethod
    async def connect(cls, url: str, model: str | None, *, retries: int = _RETRIES) -> Endpoint:
        """Connect to a server.

        Args:
            url: of the server; it usually ends in `/v1`.
            model: the model's name; None: the first one that the server lists.
            retries: how often to repeat a request while the server is busy.

        Raises:
            ConfigError: the server lists no model, or refuses the key.
            EngineError: the server cannot be reached, or fails.
        """
        try:
            import openai
        except ImportError as error:
            raise ConfigError(f"the client of endpoints cannot be imported: {error}; pip install openai") from error
        # The client requires a key; a server of your own usually does not.
        key = os.environ.get("OPENAI_API_KEY") or "none"
        client = openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=retries, timeout=_TIMEOUT_S)
        if model is None:
            try:
                served = [listed.id async for listed in client.models.list()]
            except openai.OpenAIError as error:
                await client.close()
                raise _error(url, error) from error
            if not served:
                await client.close()
                raise ConfigError(f"`evaluate.judge_endpoint`: {url} serves no model; name one with --judge")
            model = served[0]
        return cls(client, model)

    def count_tokens(self, prompt: Prompt) -> int:
        """Return the number of words of the prompt."""
        return sum(len(message["content"].split()) for message in _messages(prompt))

    def progress(self) -> int:
        """Return 0: only whole answers can be observed."""
        return 0

    async def generate(self, request: Request) -> Completion:
        """Return the server's answer.

        Raises:
            RequestFailed: the server refuses this request.
            ConfigError: the server refuses the key, or does not have the model.
            EngineError: the server cannot be reached, or fails.
        """
        import openai

        async with self._slots:
            try:
                done = await self._create(request)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                raise RequestFailed("refused", str(error)[:500]) from error
            except openai.OpenAIError as error:
                raise _error(str(self._client.base_url), error) from error
        if not done.choices:
            raise RequestFailed("no_output")
        choice, usage = done.choices[0], done.usage
        counts = (usage.prompt_tokens, usage.completion_tokens) if usage else (0, 0)
        reason: FinishReason = "length" if choice.finish_reason == "length" else "stop"
        return Completion(choice.message.content or "", reason, *counts)

    async def _create(self, request: Request) -> Any:
        """Send a request with the options that the server accepts: some rename the limit or have no temperature."""
        import openai

        known = {"max_tokens": request.sampling.max_tokens, "temperature": request.sampling.temperature}
        options = {self._names.get(name, name): value for name, value in known.items() if self._names.get(name) != ""}
        try:
            return await self._client.chat.completions.create(
                model=self._model, messages=_messages(request.prompt), **options
            )
        except openai.BadRequestError as error:
            refused = next(
                (n for n in _OTHER_NAMES if n in options and (error.param == n or f"'{n}'" in str(error))), ""
            )
            if not refused:
                raise
            self._names[refused] = _OTHER_NAMES[refused]
            return await self._create(request)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


def _messages(prompt: Prompt) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)


def _error(url: str, error: Any) -> ConfigError | EngineError:
    """Return the error to raise, with its remedy."""
    import openai

    if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
        return ConfigError(f"{url}: refuses the key; put the right one into OPENAI_API_KEY")
    if isinstance(error, openai.NotFoundError):
        return ConfigError(f"{url}: {str(error)[:300]}; check the URL (it mostly ends in /v1) and the name in --judge")
    if isinstance(error, openai.APIConnectionError):
        return EngineError(f"{url}: cannot be reached: {error.__cause__ or error}; is the server up?")
    return EngineError(f"{url}: {str(error)[:300]}; repeat the command later")
