"""The client of endpoints against servers that answer with anything but an answer."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from selfinstruct.config.section import Sampling
from selfinstruct.engines import openai_client
from selfinstruct.engines.base import Request, RequestFailed
from selfinstruct.engines.openai_endpoint import Endpoint
from selfinstruct.errors import ConfigError, EngineError, SelfInstructError

KEY = "sk-CanaryThatNobodyMaySee"
Reply = Callable[[int, bytes], bytes | Awaitable[bytes] | AsyncIterator[bytes]]
GOOD, BAD = "Which is better?", "Answer badly."


def http(body: bytes, status: str = "200 OK", *headers: str, length: int | None = None) -> bytes:
    size = f"Content-Length: {len(body) if length is None else length}"
    return (
        "\r\n".join([f"HTTP/1.1 {status}", *(headers or ["Content-Type: application/json"]), size, "", ""]).encode()
        + body
    )


def said(content: Any = "Verdict: 1", **more: Any) -> bytes:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
    return http(
        json.dumps({"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 3}} | more).encode()
    )


def badly(answer: bytes) -> Reply:
    """Answer properly, unless a bad answer is asked for."""
    return lambda _, request: answer if BAD.encode() in request else said()


class Server:
    """Answers each request with bytes: `reply` gets the number of the request and the request."""

    def __init__(self, reply: Reply) -> None:
        self.reply, self.requests = reply, list[bytes]()

    async def __aenter__(self) -> Server:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (int(n.split(b":")[1]) for n in head.splitlines() if n.lower().startswith(b"content-length")), 0
            )
            self.requests.append(head + await reader.readexactly(length))
            answer = self.reply(len(self.requests) - 1, self.requests[-1])
            if isinstance(answer, bytes):
                writer.write(answer)
            else:
                async for part in answer:  # type: ignore[union-attr]
                    writer.write(part)
                    await writer.drain()
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    # Each client would read all certificates again, and no server here has one.
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", lambda *_, **__: None)


async def asked(reply: Reply, *prompts: str, longest_s: float = 20) -> list[str]:
    """Ask a server, one prompt after the other; return the answers, and the errors of single requests."""
    async with Server(reply) as server:
        endpoint = await Endpoint.connect(server.url, "m", retries=0, longest_s=longest_s)
        outcomes = []
        try:
            for prompt in prompts or (GOOD,):
                try:
                    outcomes.append((await endpoint.generate(Request("k", prompt, Sampling(max_tokens=16)))).text)
                except RequestFailed as failure:
                    outcomes.append(str(failure))
        finally:
            await endpoint.close()
        return outcomes


NONSENSE = {
    "garbage": http(b"\xff\x00garbage"),
    "a web page": http(b"<html>Welcome</html>", "200 OK", "Content-Type: text/html"),
    "nothing": http(b""),
    "null": http(b"null"),
    "a list": http(b"[1, 2]"),
    "a number": http(b"1"),
    "no choices": http(b'{"object": "chat.completion"}'),
    "an error with 200": http(b'{"error": {"message": "overloaded"}}'),
    "choices that are none": http(b'{"choices": "x"}'),
    "no message": http(b'{"choices": [{"finish_reason": "stop"}]}'),
    "message null": http(b'{"choices": [{"message": null}]}'),
    "content as a list": said([{"type": "text", "text": "Verdict: 1"}]),
    "content as a number": said(7),
    "half a surrogate": http(b'{"choices": [{"message": {"content": "\\ud800"}}]}'),
    "half a body": http(b'{"choices": [', length=500),
    "deep": http(b"[" * 50_000),
    "deep in an object": http(b'{"choices": ' + b"[" * 20_000),
    "too long": http(said("x" * 300_000).partition(b"\r\n\r\n")[2]),
    "no HTTP at all": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a server error": http(b"oops", "500 Internal Server Error"),
    "a teapot": http(b"oops", "418 I'm a teapot"),
}


@pytest.mark.parametrize("answer", NONSENSE.values(), ids=NONSENSE)
async def test_nonsense_fails_one_request(answer: bytes) -> None:
    """Between proper answers it is one failed request; from the beginning it is no endpoint: one line, exit 2 or 3."""
    first, failed, last = await asked(badly(answer), GOOD, BAD, GOOD)
    assert first == last == "Verdict: 1"
    assert failed.startswith("endpoint_failed: ") and "\n" not in failed and len(failed) < 500
    with pytest.raises((ConfigError, EngineError)) as caught:
        await asked(lambda *_: answer)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize("usage", [None, "many", [1], {"prompt_tokens": None, "completion_tokens": "3"}, {}])
async def test_usage_that_counts_nothing(usage: Any) -> None:
    assert await asked(lambda *_: said(usage=usage)) == ["Verdict: 1"]


async def test_several_answers_are_asked_one_by_one() -> None:
    numbers: list[int] = []

    def reply(number: int, _: bytes) -> bytes:
        numbers.append(number)
        return said(f"Verdict {number}")

    async with Server(reply) as server:
        engine = await Endpoint.connect(server.url, "some-model")
        question = [{"role": "user", "content": GOOD}]
        answer = await engine.generate(Request("q", question, Sampling(temperature=0.7), samples=3))
        await engine.close()
    assert sorted(sample.text for sample in answer.samples) == [f"Verdict {n}" for n in sorted(numbers)]
    assert (len(answer.samples), answer.prompt_tokens, answer.completion_tokens) == (3, 5, 9)


async def test_an_empty_answer_is_one() -> None:
    assert await asked(lambda *_: said(None)) == [""]
    assert await asked(lambda *_: http(b'{"choices": []}')) == ["no_output"]


@pytest.mark.parametrize(
    "listed",
    [b"null", b"[]", b"<html>", b"", b'{"data": null}', b'{"data": [1]}', b'{"data": [{"id": 7}]}', b'{"data": []}'],
)
async def test_nonsense_at_models_is_an_error_of_configuration(listed: bytes) -> None:
    async with Server(lambda *_: http(listed)) as server:
        with pytest.raises(ConfigError) as caught:
            await Endpoint.connect(server.url, None, retries=0)
    assert "\n" not in str(caught.value)


async def test_failures_in_a_row_are_the_servers() -> None:
    with pytest.raises(EngineError, match="repeat the command later"):
        await asked(badly(NONSENSE["a server error"]), GOOD, *[BAD] * 20)


async def test_one_bad_answer_in_many_aborts_nothing() -> None:
    outcomes = await asked(badly(NONSENSE["null"]), *([GOOD] * 11 + [BAD]) * 2)
    assert outcomes.count("Verdict: 1") == 22


async def test_a_long_answer_is_not_read_to_its_end() -> None:
    sent = 0

    async def endless(*_: object) -> AsyncIterator[bytes]:
        nonlocal sent
        yield b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 600000000\r\n\r\n"
        while sent < 600_000_000:
            sent += 65_536
            yield b" " * 65_536

    with pytest.raises(ConfigError, match="longer than"):
        await asked(endless)  # type: ignore[arg-type]
    assert sent < 60_000_000


async def test_a_long_error_is_not_read_at_all() -> None:
    long = http(b"x" * 1_000_000, "400 Bad Request")
    assert await asked(lambda *_: long) == ["refused: Error code: 400"]


async def test_a_small_answer_that_unpacks_into_a_large_one() -> None:
    packed = http(
        gzip.compress(b" " * 50_000_000), "200 OK", "Content-Type: application/json", "Content-Encoding: gzip"
    )
    with pytest.raises(ConfigError, match="compressed"):
        await asked(lambda *_: packed)


async def test_a_server_that_drips() -> None:
    """Each byte ends the silence that a client waits for; the whole has its own limit."""

    async def drip(*_: object) -> AsyncIterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 600000000\r\n\r\n"
        while True:
            yield b" "
            await asyncio.sleep(0.01)

    with pytest.raises(EngineError, match=r"no whole answer within 0\.3 s"):
        await asked(drip, longest_s=0.3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"]
)
async def test_a_redirect_is_not_followed(status: str) -> None:
    async with Server(lambda *_: said()) as other:
        with pytest.raises(ConfigError, match=f"a redirect to {other.url}/chat, which is not followed; give that URL"):
            await asked(lambda *_: http(b"", status, f"Location: {other.url}/chat?key=1"))
        with pytest.raises(ConfigError, match="a redirect"):
            async with Server(lambda *_: http(b"", status, f"Location: {other.url}/models")) as server:
                await Endpoint.connect(server.url, None, retries=0)
        assert other.requests == []


@pytest.mark.parametrize("shift", (0, 50, 70))
async def test_a_server_that_says_the_key_back(shift: int) -> None:
    echo = ("x" * shift + f" {KEY} ").encode()
    assert KEY not in (await asked(lambda *_: said(echo.decode())))[0]
    escaped = json.dumps({"choices": [{"message": {"content": KEY}}]}).replace("sk-", "\\u0073k-").encode()
    assert await asked(lambda *_: http(escaped)) == ["[OPENAI_API_KEY]"]
    for status in ("200 OK", "400 Bad Request", "401 Unauthorized", "404 Not Found", "500 Oops"):
        answer = http(echo, status)
        try:
            shown = await asked(lambda *_, answer=answer: answer)  # type: ignore[misc]
        except SelfInstructError as error:
            shown = [str(error)]
        assert KEY[:8] not in shown[0] and "\n" not in shown[0]


async def test_a_key_that_was_pasted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\r\n")
    async with Server(lambda *_: said()) as server:
        endpoint = await Endpoint.connect(server.url, "m")
        await endpoint.generate(Request("k", GOOD, Sampling()))
        await endpoint.close()
        assert f"Authorization: Bearer {KEY}\r\n".lower().encode() in server.requests[0].lower()
    for wrong in (f"{KEY}\r{KEY}", f"{KEY}\u2013", f"Bearer {KEY}", f"{KEY}\x1b"):
        monkeypatch.setenv("OPENAI_API_KEY", wrong)
        with pytest.raises(ConfigError, match="OPENAI_API_KEY holds white space") as caught:
            await Endpoint.connect("http://127.0.0.1:9/v1", "m")
        assert KEY not in str(caught.value)


async def test_a_key_that_is_right_and_not_allowed_to_ask_this() -> None:
    denied = http(b"moderated", "403 Forbidden")
    assert await asked(badly(denied), GOOD, BAD, GOOD) == ["Verdict: 1", "refused: Error code: 403", "Verdict: 1"]


@pytest.mark.parametrize(
    "url", ["localhost:8000/v1", "ftp://host/v1", "http://", "http://[::1", "http://host:99999/v1", ""]
)
async def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(ConfigError, match="cannot be used"):
        await Endpoint.connect(url, "m")


async def test_a_proxy_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "garbage://x")
    with pytest.raises(ConfigError, match="cannot be used"):
        await Endpoint.connect("http://host/v1", "m")


def test_the_bounds_leave_room_for_what_was_asked_for() -> None:
    """The longest token of common vocabularies, each character escaped, and the frame of an answer."""
    assert openai_client.BYTES_PER_TOKEN >= 6 * 10 and openai_client.LEAST_BYTES >= 10_000


MODELS = http(json.dumps({"data": [{"id": "m"}]}).encode())


@pytest.mark.parametrize(
    ("answer", "model"),
    [
        (MODELS, None),
        (MODELS, "m"),
        (http(b"{}", "404 Not Found"), "m"),  # It lists no models, which a server need not do.
        (http(b"{}", "405 Method Not Allowed"), "m"),
        (http(b"<html>"), "m"),
    ],
)
async def test_a_server_that_is_there_is_reached_by_one_request(answer: bytes, model: str | None) -> None:
    async with Server(lambda *_: answer) as server:
        await Endpoint.reach(server.url, model)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("answer", "model", "said"),
    [
        (http(b"{}", "500 Internal Server Error"), "m", "fails"),
        (http(b"{}", "401 Unauthorized"), "m", "refuses the key"),
        (http(b'{"data": []}'), None, "serves no model"),
        (http(b"<html>"), None, "is it an OpenAI-compatible endpoint"),
        (http(b"{}", "404 Not Found"), None, "check the URL"),
        (http(b"", "302 Found", "Location: http://127.0.0.1:9/v1"), "m", "redirect"),
    ],
)
async def test_a_server_that_cannot_judge_is_a_wrong_option(answer: bytes, model: str | None, said: str) -> None:
    async with Server(lambda *_: answer) as server:
        with pytest.raises(ConfigError, match=said):
            await Endpoint.reach(server.url, model)


@pytest.mark.parametrize("model", ["m", None])
async def test_a_dead_or_silent_server_is_not_waited_for(model: str | None) -> None:
    with pytest.raises(ConfigError, match=r"judge_endpoint`: http://127\.0\.0\.1:9/v1: cannot be reached"):
        await Endpoint.reach("http://127.0.0.1:9/v1", model)

    async def silent() -> AsyncIterator[bytes]:
        await asyncio.sleep(30)
        yield b""

    async with Server(lambda *_: silent()) as server:
        with pytest.raises(ConfigError, match=r"no whole answer within 0\.2 s; is the server up"):
            await Endpoint.reach(server.url, model, longest_s=0.2)
