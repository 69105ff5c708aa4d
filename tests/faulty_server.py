"""An OpenAI-compatible server in a thread of its own, which answers from a script and fails when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from selfinstruct.config.section import Sampling
from selfinstruct.engines.base import Request
from selfinstruct.records import Completion

Fault = str | None
"""What goes wrong with a request: reset, stall, half, busy, unavailable, malformed, error, drip, or nothing.

An answer in parts can be `unfinished`, too: it ends well, but without a finish reason. `drip` never ends.
"""

CONTEXT = 1_000_000
MODEL = "scripted"


def http(body: bytes | dict[str, Any], status: str = "200 OK", *headers: str, length: int | None = None) -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    size = len(content) if length is None else length
    head = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {size}", *headers, "", ""]
    return "\r\n".join(head).encode() + content


def in_parts(text: str, rest: dict[str, Any], usage: dict[str, int], chat: bool) -> list[bytes]:
    """Return the events of an answer, of three characters each; `rest` is in the last of them."""
    parts = [text[k : k + 3] for k in range(0, len(text), 3)] or [""]
    said = [{"delta": {"content": part}} if chat else {"text": part} for part in parts]
    counts = [{**usage, "completion_tokens": k} for k in range(1, len(parts) + 1)]
    choices = [{**one, "finish_reason": None} for one in said[:-1]] + [{**said[-1], **rest}]
    events: list[Any] = [{"choices": [one], "usage": count} for one, count in zip(choices, counts, strict=True)]
    events.append({"choices": [], "usage": usage})
    return [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events] + [b"data: [DONE]\n\n"]


def chunked(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


_IN_PARTS = ("half", "malformed", "error", "unfinished", "drip")
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"


class FaultyServer:
    """Serves `script`; `fault(body)` says what goes wrong with each request for an answer.

    Args:
        script: answers a request whose key names its kind.
        fault: draws what goes wrong.
        chat: whether it answers chats.
        context: what it lists; None: it does not say.
        refused: options that it does not know.
        streams: whether it answers in parts where it is asked to.

    Attributes:
        sent: events of answers in parts that were sent.
        bodies: what was asked and answered well.
        asked: requests by fault.
        most_at_once: most requests that were open at a time.
    """

    def __init__(
        self,
        script: Callable[[Request], Completion],
        fault: Callable[[dict[str, Any]], Fault] = lambda body: None,
        *,
        chat: bool = False,
        context: int | None = CONTEXT,
        refused: tuple[str, ...] = (),
        port: int = 0,
        streams: bool = True,
    ) -> None:
        self.script, self.fault, self.chat, self.context, self.refused = script, fault, chat, context, refused
        self.bodies: list[dict[str, Any]] = []
        self.asked: Counter[Fault] = Counter()
        self.most_at_once = self._open = 0
        self.port, self.streams, self.sent = port, streams, 0

    def __enter__(self) -> FaultyServer:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        self.die()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def listen(self) -> None:
        """Listen, at the same port as before."""
        self._server = self._in_thread(asyncio.start_server(self._serve, "127.0.0.1", self.port))
        self.port = self._server.sockets[0].getsockname()[1]

    def die(self) -> None:
        """Refuse connections, and break those that are open."""

        async def end() -> None:
            self._server.close()
            serving = asyncio.all_tasks() - {asyncio.current_task()}
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)

        self._in_thread(end())

    def _in_thread(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:  # The client keeps its connections.
                head = await reader.readuntil(b"\r\n\r\n")
                lengths = [line.split(b":")[1] for line in head.lower().splitlines() if line.startswith(b"content-len")]
                body = await reader.readexactly(int(lengths[0]) if lengths else 0)
                if head.startswith(b"GET"):
                    writer.write(self._models())
                elif not await self._answer(b"/chat/" in head.split(b"\r\n")[0], json.loads(body), writer):
                    break
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            with contextlib.suppress(Exception):
                writer.transport.abort()

    def _models(self) -> bytes:
        more = {} if self.context is None else {"max_model_len": self.context}
        return http({"object": "list", "data": [{"id": MODEL, **more}]})

    async def _answer(self, chat: bool, body: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        """Answer a request well, or not; return whether the connection stays."""
        if chat and not self.chat:
            writer.write(http({"error": {"message": "no chat template"}}, "400 Bad Request"))
            return True
        if unknown := next((name for name in self.refused if name in body), None):
            text = f"Unsupported parameter: '{unknown}'"
            writer.write(http({"error": {"message": text, "param": unknown}}, "400 Bad Request"))
            return True
        fault = None if 1 in (body.get("max_tokens"), body.get("max_completion_tokens")) else self.fault(body)
        self.asked[fault] += 1
        self._open += 1
        self.most_at_once = max(self.most_at_once, self._open)
        try:
            await asyncio.sleep(0.001)
            if body.get("stream") and self.streams and fault in (None, *_IN_PARTS):
                return await self._answer_in_parts(chat, body, fault, writer)
            good = self._good(chat, body)
            match fault:
                case "reset":
                    return False
                case "stall":
                    await asyncio.sleep(3600)
                case "half":
                    writer.write(good[: len(good) // 2])
                    await writer.drain()
                    return False
                case "busy":
                    writer.write(http({"error": {"message": "slow down"}}, "429 Too Many", "Retry-After-Ms: 20"))
                case "unavailable":
                    writer.write(http(b"no replica", "503 Service Unavailable"))
                case "malformed":
                    writer.write(http(b'{"choices": [{"text": "'))
                case "error":
                    writer.write(http(b"oops", "500 Internal Server Error"))
                case _:
                    self.bodies.append(body)  # Before the test, in another thread, can see the answer.
                    writer.write(good)
        finally:
            self._open -= 1
        return True

    async def _answer_in_parts(
        self, chat: bool, body: dict[str, Any], fault: Fault, writer: asyncio.StreamWriter
    ) -> bool:
        choice = json.loads(self._good(chat, body).partition(b"\r\n\r\n")[2])
        said, usage = choice["choices"][0], choice["usage"]
        text = said["message"]["content"] if chat else said["text"]
        events = in_parts(text, {"finish_reason": said["finish_reason"]}, usage, chat)
        writer.write(STREAM)
        match fault:
            case "half":
                writer.write(b"".join(map(chunked, events[: len(events) // 2])) + b"ff\r\n" + events[0][:9])
                await writer.drain()
                return False
            case "malformed":
                events.insert(len(events) // 2, b'data: {"choices": [{"te\n\n')
            case "error":
                events[1:] = [b'data: {"error": {"message": "the engine died"}}\n\n']
            case "unfinished":
                events = [event for event in events if said["finish_reason"].encode() not in event]
            case "drip":
                while True:
                    writer.write(chunked(b": still here\n\n"))
                    await writer.drain()
                    await asyncio.sleep(0.01)
        for event in events:
            self.sent += 1
            writer.write(chunked(event))
            await writer.drain()
            await asyncio.sleep(0 if self.sent < 1_000 else 0.01)  # A client that has gone is noticed.
        if fault is None:
            self.bodies.append(body)
        writer.write(chunked(b""))
        return True

    def _good(self, chat: bool, body: dict[str, Any]) -> bytes:
        prompt = body["messages"] if chat else body["prompt"]
        completion = self.script(Request(kind_of(json.dumps(prompt)), prompt, Sampling()))
        said = {"message": {"role": "assistant", "content": completion.text}} if chat else {"text": completion.text}
        usage = {"prompt_tokens": completion.prompt_tokens, "completion_tokens": completion.completion_tokens}
        return http({"choices": [{**said, "finish_reason": completion.finish_reason}], "usage": usage})


def kind_of(prompt: str) -> str:
    """Return the kind of a request by the end of its prompt in completion style, as JSON."""
    if prompt.endswith('Classification:"'):
        return "classification/x"
    return "proposal/0" if re.search(r'Task \d+:"$', prompt) else "instances/x"


def now_and_then(*faults: str, share: float, seed: int = 0, most: int) -> Callable[[dict[str, Any]], Fault]:
    """Return a fault of random requests, of a share of them and at most of so many."""
    draw, left = random.Random(seed), iter(range(most))
    return lambda body: draw.choice(faults) if draw.random() < share and next(left, None) is not None else None


@contextlib.contextmanager
def servers(*several: FaultyServer) -> Iterator[tuple[FaultyServer, ...]]:
    with contextlib.ExitStack() as stack:
        yield tuple(stack.enter_context(server) for server in several)
