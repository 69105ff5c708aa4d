"""An OpenAI-compatible endpoint as an engine: for a judge that runs elsewhere (`vllm serve`, a provider).

OpenAI's client waits and tries again when the server is busy. Generation uses `endpoints.py` instead, which spreads its
requests over several servers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import msgspec

from selfinstruct.engines.base import Request, RequestFailed
from selfinstruct.engines.openai_client import (
    BYTES_PER_TOKEN,
    LEAST_BYTES,
    NO_MODELS_LIST,
    Models,
    NonsenseError,
    api_key,
    body_of,
    decoded,
    open_client,
    said,
    shown,
    without_key,
    without_key_in,
)
from selfinstruct.engines.samples import joined, singles
from selfinstruct.errors import ConfigError, EngineError
from selfinstruct.records import Completion, FinishReason, OpenTurn, Prompt

_AT_ONCE = 32
_RETRIES = 6
_LONGEST_S = 900.0
"""Longest time for one request with all its repetitions."""
_REACH_S = 10.0
"""Longest time to find out whether a server is there."""
_OTHER_NAMES = {"max_tokens": "max_completion_tokens", "temperature": ""}
"""The name to try next when a server refuses an option; "" leaves the option out."""
_TRIES = 3
"""How often a request is sent whose answer is none."""
_FAILURES_IN_A_ROW = 8
"""Failures without an answer between them after which the server itself counts as failed."""


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: Any = None


class _Answer(msgspec.Struct):
    choices: list[_Choice]
    usage: Any = None


class Endpoint:
    """An engine that sends chat requests to an endpoint. Make it with `await Endpoint.connect(...)`.

    Only the server can count tokens, and only it knows its context. So `count_tokens` counts words, and
    `context_length` is no limit.
    """

    capacity = _AT_ONCE
    context_length = 1 << 30
    has_chat_template = True
    brings_chat_template = True
    tells_logprobs = False

    def __init__(self, client: Any, url: str, model: str, key: str, longest_s: float = _LONGEST_S) -> None:
        self._client = client
        self._url = url
        self._model = model
        self._key = key
        self._longest_s = longest_s
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._names: dict[str, str] = {}
        self._has_answered = False
        self._failures = 0

    @classmethod
    async def connect(
        cls, url: str, model: str | None, *, retries: int = _RETRIES, longest_s: float = _LONGEST_S
    ) -> Endpoint:
        """Connect to a server.

        Args:
            url: of the server; it usually ends in `/v1`.
            model: the model's name; None: the first one that the server lists.
            retries: how often to repeat a request while the server is busy.
            longest_s: longest time for one request with all its repetitions, in seconds.

        Raises:
            ConfigError: the URL or the key cannot be used, the server lists no model, refuses the key, or is no
                OpenAI-compatible endpoint.
            EngineError: the server cannot be reached, or fails.
        """
        key = api_key()
        client = open_client(url, key, retries, "evaluate.judge_endpoint")
        endpoint = cls(client, shown(url), model or "", key, longest_s)
        if model is None:
            try:
                endpoint._model = await endpoint._first_model()
            except BaseException:
                await client.close()
                raise
        return endpoint

    @classmethod
    async def reach(cls, url: str, model: str | None, *, longest_s: float = _REACH_S) -> None:
        """Ask a server for its models, to know that it is there; ask once, and wait a few seconds.

        Args:
            url: of the server.
            model: the model's name; None: the server has to list one. A server need not list one that is named.
            longest_s: longest time, in seconds.

        Raises:
            ConfigError: the URL or the key cannot be used, the server cannot be reached, or lists no model.
        """
        try:
            endpoint = await cls.connect(url, model, retries=0, longest_s=longest_s)
            try:
                if model is not None:
                    await endpoint._knock()
            finally:
                await endpoint.close()
        except EngineError as error:
            raise ConfigError(f"`evaluate.judge_endpoint`: {error}") from error

    def count_tokens(self, prompt: Prompt) -> int:
        """Return the number of words of the prompt."""
        return sum(len(message["content"].split()) for message in _messages(prompt))

    def progress(self) -> int:
        """Return 0: only whole answers can be observed."""
        return 0

    async def generate(self, request: Request) -> Completion:
        """Return the server's answer.

        Raises:
            RequestFailed: the server refuses this request, or answers it with nothing that is an answer.
            ConfigError: the server refuses the key, does not have the model, or is no OpenAI-compatible endpoint.
            EngineError: the server cannot be reached, or fails again and again.
        """
        if request.samples > 1:  # Not every server knows `n`; most keep the prompt that they have just read.
            return joined(await asyncio.gather(*map(self.generate, singles(request))))
        if isinstance(request.prompt, OpenTurn):
            raise RequestFailed("refused", "an endpoint writes answers only; it continues no message")
        async with self._slots, self._errors():
            answer = await self._answer(request)
        self._has_answered, self._failures = True, 0
        if not answer.choices:
            raise RequestFailed("no_output")
        choice, usage = answer.choices[0], answer.usage if isinstance(answer.usage, dict) else {}
        prompt, answered = (
            n if isinstance(n := usage.get(f"{kind}_tokens"), int) else 0 for kind in ("prompt", "completion")
        )
        reason: FinishReason = "length" if choice.finish_reason == "length" else "stop"
        return Completion(without_key(choice.message.content or "", self._key), reason, prompt, answered)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    # ------------------------------------------------------------------------------------------------ requests

    async def _answer(self, request: Request) -> _Answer:
        """Ask until the server says something that has the form of an answer, a few times."""
        bound = LEAST_BYTES + BYTES_PER_TOKEN * request.sampling.max_tokens
        for again in range(_TRIES - 1, -1, -1):
            try:
                return decoded(await self._create(request, bound), _Answer)
            except NonsenseError:
                if not again:
                    raise
        raise AssertionError("the last try returns or raises")

    async def _create(self, request: Request, bound: int) -> bytes:
        """Send a request with the options that the server accepts: some rename the limit or have no temperature."""
        import openai

        known = {"max_tokens": request.sampling.max_tokens, "temperature": request.sampling.temperature}
        options = {self._names.get(name, name): value for name, value in known.items() if self._names.get(name) != ""}
        completions = self._client.chat.completions.with_streaming_response
        try:
            async with completions.create(model=self._model, messages=_messages(request.prompt), **options) as response:
                return without_key_in(await body_of(response, bound), self._key)
        except openai.BadRequestError as error:
            refused = next(
                (n for n in _OTHER_NAMES if n in options and (error.param == n or f"'{n}'" in str(error))), ""
            )
            if not refused:
                raise
            self._names[refused] = _OTHER_NAMES[refused]
            return await self._create(request, bound)

    async def _first_model(self) -> str:
        async with self._errors(), self._client.models.with_streaming_response.list() as response:
            body = await body_of(response, 100 * LEAST_BYTES)
            served = decoded(without_key_in(body, self._key), Models).data
        if not served:
            raise ConfigError(f"`evaluate.judge_endpoint`: {self._url} serves no model; name one with --judge")
        return served[0].id

    async def _knock(self) -> None:
        """Ask for the models; a server that lists none is there all the same."""
        import openai

        async with self._errors():
            try:
                async with self._client.models.with_streaming_response.list():
                    pass
            except openai.APIStatusError as error:
                if error.status_code not in NO_MODELS_LIST:
                    raise

    # ------------------------------------------------------------------------------------------------- errors

    @asynccontextmanager
    async def _errors(self) -> AsyncGenerator[None]:
        """Turn what goes wrong with one request into an error of ours, with its remedy and without the key."""
        import openai

        try:
            async with asyncio.timeout(self._longest_s):
                yield
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            raise RequestFailed("refused", said(error, self._key)) from None
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            if self._has_answered:  # The key is right; what it was asked is not allowed.
                raise RequestFailed("refused", said(error, self._key)) from None
            raise ConfigError(f"{self._url}: refuses the key; put the right one into OPENAI_API_KEY") from None
        except openai.NotFoundError as error:
            remedy = "check the URL (it mostly ends in /v1) and the name in --judge"
            raise ConfigError(f"{self._url}: {said(error, self._key)}; {remedy}") from None
        except openai.RateLimitError as error:
            raise EngineError(f"{self._url}: {said(error, self._key)}; repeat the command later") from None
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            self._fail(EngineError, "cannot be reached", f"{said(cause, self._key)}; is the server up?")
        except openai.APIStatusError as error:
            if target := error.response.headers.get("location"):
                text = f"{self._url}: answers with a redirect to {shown(target)}, which is not followed; give that URL"
                raise ConfigError(without_key(text, self._key)) from None
            self._fail(EngineError, "fails", f"{said(error, self._key)}; repeat the command later")
        except TimeoutError:
            self._fail(EngineError, "timeout", f"no whole answer within {self._longest_s:g} s; is the server up?")
        except NonsenseError as error:
            self._fail(
                ConfigError,
                "no_answer",
                f"{said(error, self._key)}; is it an OpenAI-compatible endpoint, and the URL right?",
            )

    def _fail(self, kind: type[ConfigError | EngineError], reason: str, text: str) -> NoReturn:
        """Fail one request; fail the endpoint if it has never answered, or too often not."""
        self._failures += 1
        if not self._has_answered or self._failures >= _FAILURES_IN_A_ROW:
            kind = EngineError if self._has_answered else kind
            raise kind(f"{self._url}: {reason.replace('_', ' ')}: {text}") from None
        raise RequestFailed("endpoint_failed", f"{reason.replace('_', ' ')}: {text.partition(';')[0]}") from None


def _messages(prompt: Prompt) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
