"""OpenAI's client, hardened: for every endpoint that is asked, whether a judge or the generator.

The key is read only from the environment (`OPENAI_API_KEY`). It is sent to the endpoint alone, redirects are not
followed, and it is removed from whatever the server says. What the server answers is read within bounds, and believed
only where it has the form of an answer.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from selfinstruct.errors import ConfigError

TIMEOUT_S = 600.0
"""Longest silence of the server."""
LEAST_BYTES = 65_536
BYTES_PER_TOKEN = 64
"""Bounds of an answer: this many bytes, and this many for each token that was asked for."""
NO_MODELS_LIST = (400, 404, 405, 422, 501)
"""Statuses with which a server refuses to list its models, which an OpenAI-compatible one need not do."""
_T = TypeVar("_T")
_IN_PLACE_OF_KEY = "[OPENAI_API_KEY]"
_NO_KEY = "none"
"""The client requires a key; a server of your own usually does not."""
_PER_CLIENT = 16
"""Requests of one client at a time."""
_LEAST_SECRET = 12
"""Characters of a key that is removed from texts. Shorter ones ("EMPTY") are placeholders, and words of answers."""


class Model(msgspec.Struct):
    """One model that a server lists; vLLM says how long its context is, and Ray Serve LLM in a place of its own."""

    id: str
    max_model_len: Any = None
    metadata: Any = None

    @property
    def context_length(self) -> int | None:
        """Tokens of prompt and answer together; None where the server does not say."""
        metadata = self.metadata if isinstance(self.metadata, dict) else {}
        lengths = (self.max_model_len, metadata.get("max_request_context_length"))
        return next((n for n in lengths if isinstance(n, int) and n > 0), None)


class Models(msgspec.Struct):
    """What a server says at /models."""

    data: list[Model]


class NonsenseError(Exception):
    """The server answered, but with nothing that is an answer."""


def api_key() -> str:
    """Return the key, without the white space that copying adds.

    Raises:
        ConfigError: it holds a character that no key has.
    """
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigError("OPENAI_API_KEY holds white space or a character that no key has; set it again")
    return key or _NO_KEY


def open_client(url: str, key: str, retries: int, option: str) -> Any:
    """Return OpenAI's client, which follows no redirect and asks for answers that are not compressed.

    Args:
        url: of the server.
        key: as `api_key` gives it.
        retries: how often the client itself repeats a request while the server is busy.
        option: the option that holds the URL, for messages.

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
            follow_redirects=False, timeout=TIMEOUT_S, event_hooks={"response": [_drop_long_error]}
        )
    except (ValueError, ImportError) as error:
        raise ConfigError(f"`{option}`: {shown(url)!r} cannot be used: {error}") from error
    headers = {"Accept-Encoding": "identity"}  # A small answer may unpack into a large one.
    return openai.AsyncOpenAI(
        base_url=url, api_key=key, max_retries=retries, timeout=TIMEOUT_S, http_client=http, default_headers=headers
    )


class Clients:
    """Clients of one server, each with few requests at a time.

    httpx looks through all connections of a client at each request. With 256 of them that is half of its work.

    Args:
        opened: opens a client.
    """

    def __init__(self, opened: Callable[[], Any]) -> None:
        self._opened = opened
        self._clients = [opened()]
        self._requests = [0]

    @contextlib.contextmanager
    def one(self) -> Iterator[Any]:
        """Yield the client with the fewest requests; it has one more until the block ends."""
        least = min(range(len(self._clients)), key=self._requests.__getitem__)
        if self._requests[least] == _PER_CLIENT:
            least = len(self._clients)
            self._clients.append(self._opened())
            self._requests.append(0)
        self._requests[least] += 1
        try:
            yield self._clients[least]
        finally:
            self._requests[least] -= 1

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            await client.close()


async def _drop_long_error(response: Any) -> None:
    """Close an error whose text may be long: the client would read it whole."""
    length = response.headers.get("content-length", "")
    short = length.isdecimal() and int(length) <= LEAST_BYTES and "content-encoding" not in response.headers
    if response.is_error and not short:
        await response.aclose()


async def body_of(response: Any, bound: int) -> bytes:
    """Return the body of an answer.

    Args:
        response: of OpenAI's client, not read yet.
        bound: most bytes.

    Raises:
        NonsenseError: it is longer, compressed, or breaks off.
    """
    return b"".join([part async for part in parts_of(response, bound)])


async def parts_of(response: Any, bound: int) -> AsyncGenerator[bytes]:
    """Yield the body of an answer as it comes; see `body_of`.

    Args:
        response: of OpenAI's client, not read yet.
        bound: most bytes.
    """
    if response.headers.get("content-encoding", "identity") != "identity":
        raise NonsenseError("the answer is compressed, which was not asked for")
    parts, size = aiter(response.iter_bytes()), 0
    while True:
        try:
            part = await anext(parts, None)
        except TimeoutError:
            raise
        except Exception as error:
            raise NonsenseError(f"the answer breaks off ({type(error).__name__})") from error
        if part is None:
            return
        size += len(part)
        if size > bound:
            raise NonsenseError(f"the answer is longer than {bound:,} bytes")
        yield part


def decoded(body: bytes, kind: type[_T]) -> _T:
    """Return an answer as an object of a type.

    Args:
        body: JSON.
        kind: the type.

    Raises:
        NonsenseError: it is no JSON, or of another form.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        beginning = body[:80].decode("utf-8", "replace")
        raise NonsenseError(f"it answers {beginning!r} ({error})") from error


def without_key(text: str, key: str) -> str:
    """Return a text without the key."""
    return text.replace(key, _IN_PLACE_OF_KEY) if _is_secret(key) else text


def without_key_in(body: bytes, key: str) -> bytes:
    """Return bytes without the key."""
    return body.replace(key.encode(), _IN_PLACE_OF_KEY.encode()) if _is_secret(key) else body


def _is_secret(key: str) -> bool:
    """Return whether a key is one, not a placeholder."""
    return len(key) >= _LEAST_SECRET


def said(error: BaseException, key: str) -> str:
    """Return what an error says, in one line and without the key."""
    return " ".join(without_key(str(error) or type(error).__name__, key).split())[:300]


def shown(url: str) -> str:
    """Return a URL without what may be a secret in it: the user and the query."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return url.partition("?")[0]
    return parts._replace(netloc=host, query="", fragment="").geturl()
