"""An OpenAI-compatible endpoint as an engine: for a judge that runs elsewhere (`vllm serve`, a provider).

The key is read only from the environment (`OPENAI_API_KEY`). It is sent to the endpoint alone, redirects are not
followed, and it is removed from whatever the server says. The client is OpenAI's own, which waits and tries again when
the server is busy. What the server answers is read within bounds, and believed only where it has the form of an answer.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import msgspec

from selfinstruct.engines.base import Request, RequestFailed
from selfinstruct.engines.samples import joined, singles
from selfinstruct.errors import ConfigError, EngineError
from selfinstruct.records import Completion, FinishReason, OpenTurn, Prompt

_AT_ONCE = 32
_RETRIES = 6
_TIMEOUT_S = 600.0
"""Longest silence of the server."""
_LONGEST_S = 900.0
"""Longest time for one request with all its repetitions."""
_REACH_S = 10.0
"""Longest time to find out whether a server is there."""
_LISTS_NO_MODELS = (400, 404, 405, 422, 501)
"""Statuses with which a server refuses to list its models, which an OpenAI-compatible one need not do."""
_OTHER_NAMES = {"max_tokens": "max_completion_tokens", "temperature": ""}
"""The name to try next when a server refuses an option; "" leaves the option out."""
_TRIES = 3
"""How often a request is sent whose answer is none."""
_FAILURES_IN_A_ROW = 8
"""Failures without an answer between them after which the server itself counts as failed."""
_LEAST_BYTES = 65_536
_BYTES_PER_TOKEN = 64
_T = TypeVar("_T")
_IN_PLACE_OF_KEY = "[OPENAI_API_KEY]"
_NO_KEY = "none"
"""The client requires a key; a server of your own usually does not."""


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: Any = None


class _Answer(msgspec.Struct):
    choices: list[_Choice]
    usage: Any = None


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


class _Nonsense(Exception):
    """The server answered, but with nothing that is an answer."""


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
        key = _key()
        client = _client(url, key, retries)
        endpoint = cls(client, _shown(url), model or "", key, longest_s)
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
        return Completion(self._without_key(choice.message.content or ""), reason, prompt, answered)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    # ------------------------------------------------------------------------------------------------ requests

    async def _answer(self, request: Request) -> _Answer:
        """Ask until the server says something that has the form of an answer, a few times."""
        bound = _LEAST_BYTES + _BYTES_PER_TOKEN * request.sampling.max_tokens
        for again in range(_TRIES - 1, -1, -1):
            try:
                return _decoded(await self._create(request, bound), _Answer)
            except _Nonsense:
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
                return self._without_key_in(await _body(response, bound))
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
            served = _decoded(self._without_key_in(await _body(response, 100 * _LEAST_BYTES)), _Models).data
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
                if error.status_code not in _LISTS_NO_MODELS:
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
            raise RequestFailed("refused", self._said(error)) from None
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            if self._has_answered:  # The key is right; what it was asked is not allowed.
                raise RequestFailed("refused", self._said(error)) from None
            raise ConfigError(f"{self._url}: refuses the key; put the right one into OPENAI_API_KEY") from None
        except openai.NotFoundError as error:
            remedy = "check the URL (it mostly ends in /v1) and the name in --judge"
            raise ConfigError(f"{self._url}: {self._said(error)}; {remedy}") from None
        except openai.RateLimitError as error:
            raise EngineError(f"{self._url}: {self._said(error)}; repeat the command later") from None
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            self._fail(EngineError, "cannot be reached", f"{self._said(cause)}; is the server up?")
        except openai.APIStatusError as error:
            if target := error.response.headers.get("location"):
                text = f"{self._url}: answers with a redirect to {_shown(target)}, which is not followed; give that URL"
                raise ConfigError(self._without_key(text)) from None
            self._fail(EngineError, "fails", f"{self._said(error)}; repeat the command later")
        except TimeoutError:
            self._fail(EngineError, "timeout", f"no whole answer within {self._longest_s:g} s; is the server up?")
        except _Nonsense as error:
            self._fail(
                ConfigError,
                "no_answer",
                f"{self._said(error)}; is it an OpenAI-compatible endpoint, and the URL right?",
            )

    def _fail(self, kind: type[ConfigError | EngineError], reason: str, text: str) -> NoReturn:
        """Fail one request; fail the endpoint if it has never answered, or too often not."""
        self._failures += 1
        if not self._has_answered or self._failures >= _FAILURES_IN_A_ROW:
            kind = EngineError if self._has_answered else kind
            raise kind(f"{self._url}: {reason.replace('_', ' ')}: {text}") from None
        raise RequestFailed("endpoint_failed", f"{reason.replace('_', ' ')}: {text.partition(';')[0]}") from None

    def _said(self, error: BaseException) -> str:
        """Return what an error says, in one line."""
        return " ".join(self._without_key(str(error) or type(error).__name__).split())[:300]

    def _without_key(self, text: str) -> str:
        return text if self._key == _NO_KEY else text.replace(self._key, _IN_PLACE_OF_KEY)

    def _without_key_in(self, body: bytes) -> bytes:
        return body if self._key == _NO_KEY else body.replace(self._key.encode(), _IN_PLACE_OF_KEY.encode())


def _key() -> str:
    """Return the key, without the white space that copying adds.

    Raises:
        ConfigError: it holds a character that no key has.
    """
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigError("OPENAI_API_KEY holds white space or a character that no key has; set it again")
    return key or _NO_KEY


def _client(url: str, key: str, retries: int) -> Any:
    """Return OpenAI's client, which follows no redirect and asks for answers that are not compressed.

    Raises:
        ConfigError: the client is not installed, or the URL or a proxy's address is none.
    """
    try:
        import openai
    except ImportError as error:
        raise ConfigError(f"the client of endpoints cannot be imported: {error}; pip install openai") from error
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or (parts.port or 0) < 0:
            raise ValueError("it has to begin with http:// or https:// and a host")
        http = openai.DefaultAsyncHttpxClient(
            follow_redirects=False, timeout=_TIMEOUT_S, event_hooks={"response": [_drop_long_error]}
        )
    except (ValueError, ImportError) as error:
        raise ConfigError(f"`evaluate.judge_endpoint`: {_shown(url)!r} cannot be used: {error}") from error
    headers = {"Accept-Encoding": "identity"}  # A small answer may unpack into a large one.
    return openai.AsyncOpenAI(
        base_url=url, api_key=key, max_retries=retries, timeout=_TIMEOUT_S, http_client=http, default_headers=headers
    )


async def _drop_long_error(response: Any) -> None:
    """Close an error whose text may be long: the client would read it whole."""
    length = response.headers.get("content-length", "")
    short = length.isdecimal() and int(length) <= _LEAST_BYTES and "content-encoding" not in response.headers
    if response.is_error and not short:
        await response.aclose()


async def _body(response: Any, bound: int) -> bytes:
    """Return the body of an answer.

    Args:
        response: of OpenAI's client, not read yet.
        bound: most bytes.

    Raises:
        _Nonsense: it is longer, compressed, or breaks off.
    """
    if response.headers.get("content-encoding", "identity") != "identity":
        raise _Nonsense("the answer is compressed, which was not asked for")
    body = bytearray()
    try:
        async for part in response.iter_bytes():
            body += part
            if len(body) > bound:
                break
    except TimeoutError:
        raise
    except Exception as error:
        raise _Nonsense(f"the answer breaks off ({type(error).__name__})") from error
    if len(body) > bound:
        raise _Nonsense(f"the answer is longer than {bound:,} bytes")
    return bytes(body)


def _decoded(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        beginning = body[:80].decode("utf-8", "replace")
        raise _Nonsense(f"it answers {beginning!r} ({error})") from error


def _messages(prompt: Prompt) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)


def _shown(url: str) -> str:
    """Return a URL without what may be a secret in it: the user and the query."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return url.partition("?")[0]
    return parts._replace(netloc=host, query="", fragment="").geturl()
