"""The process of one replica: a whole engine, which the driver asks and which answers in batches over a socket.

    python -m selfinstruct.engines.replica_process DESCRIPTOR PARENT

    driver ── [Asked(7, ...), Asked(8, ...), Withdrawn(3)] ──> replica ── [Answered(5, ...), Failed(6, ...)] ──> driver

It ends when the driver closes the socket or dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import io
import operator
import re
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec

from selfinstruct import library_log, parent_death
from selfinstruct.config.section import Sampling
from selfinstruct.console import console
from selfinstruct.engines.base import Request, RequestFailed
from selfinstruct.errors import ConfigError, EngineError
from selfinstruct.records import Completion

BATCH_S = 0.005
"""Seconds in which messages are gathered before they are sent together."""
_PROGRESS_S = 1.0
_SAMPLING = tuple(Sampling.model_fields)


@dataclass(frozen=True, slots=True)
class Encoded(Request):
    """A request whose prompt is in tokens; `prompt` is empty.

    Attributes:
        ids: tokens of the prompt.
        end_tokens: that end the answer.
        end_strings: likewise.
        response: if set, the log-probability of these tokens after the prompt is wanted, not an answer. It comes as
            that of the only choice.
    """

    ids: list[int] = field(default_factory=list)
    end_tokens: list[int] = field(default_factory=list)
    end_strings: list[str] = field(default_factory=list)
    response: list[int] | None = None


class ReplicaEngine(Protocol):
    """What runs in the process: `VLLMEngine` is one."""

    context_length: int
    generation_config: Mapping[str, Any]
    capacity: int
    tells_logprobs: bool

    async def answer(
        self, request: Request, ids: list[int], ends: tuple[frozenset[int], tuple[str, ...]]
    ) -> Completion:
        """Answer one request; raises as `Engine.generate`.

        Args:
            request: whose prompt is not looked at.
            ids: tokens of the prompt.
            ends: tokens and strings that end the answer.
        """
        ...

    async def response_logprob(self, prompt_ids: list[int], response_ids: list[int]) -> float:
        """Return the log-probability of a response after a prompt, summed over its tokens."""
        ...

    def progress(self) -> int:
        """Return a number that changes while requests advance."""
        ...

    async def close(self) -> None:
        """Free memory and end processes."""
        ...


class _Message(msgspec.Struct, tag=True, array_like=True, gc=False):
    """What driver and replica tell each other."""


class Start(_Message):
    """The first message to a replica.

    Attributes:
        path: where Python looks for modules.
        function: that starts the engine, as `module:name`; awaited.
        options: of the function.
        log: the file into which stdout and stderr go.
    """

    path: list[str]
    function: str
    options: dict[str, Any]
    log: str | None = None


class Asked(_Message):
    """A request, with the number of its answer."""

    number: int
    request: Encoded


class Withdrawn(_Message):
    """Nobody waits for this answer any more."""

    number: int


class Ready(_Message):
    """The engine has started; what the driver needs to know of it."""

    context_length: int
    generation_config: dict[str, Any]
    capacity: int
    tells_logprobs: bool


class NotStarted(_Message):
    """It has not; the user can correct the cause where it is the configuration."""

    error: str
    is_configuration: bool


class Remark(_Message):
    """A line for the user's terminal."""

    line: str


class Answered(_Message):
    """The answer to a request."""

    number: int
    completion: Completion


class Failed(_Message):
    """A request cannot be answered, others can."""

    number: int
    reason: str
    detail: str


class Dead(_Message):
    """The engine has ended."""

    cause: str


class Progress(_Message):
    """The engine's progress, once a second."""

    number: int


ToReplica = Start | Asked | Withdrawn
ToDriver = Ready | NotStarted | Remark | Answered | Failed | Dead | Progress


def _encoded(value: Any) -> Any:
    if isinstance(value, Sampling):
        return {name: getattr(value, name) for name in _SAMPLING}
    if isinstance(value, re.Pattern):
        return [value.pattern, value.flags]
    raise TypeError(f"{type(value).__name__} cannot be sent to a replica")


def _printable(text: str) -> str:
    """Return a text that can be sent: lone surrogates are written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _decoded(wanted: Any, value: Any) -> Any:
    return Sampling.model_construct(**value) if wanted is Sampling else re.compile(*value)


class Batches(asyncio.Protocol):
    """Sends and receives batches of messages, each behind its length.

    Args:
        kinds: the union of what is received.
        receive: called with each message.
        lost: called once when the other side is gone.
    """

    def __init__(self, kinds: Any, receive: Callable[[Any], None], lost: Callable[[], None]) -> None:
        self._decoder = msgspec.msgpack.Decoder(list[kinds], dec_hook=_decoded)
        self._encoder = msgspec.msgpack.Encoder(enc_hook=_encoded)
        self._receive = receive
        self._lost = lost
        self._buffer = bytearray()
        self._outbox: list[Any] = []
        self._transport: Any = None

    @classmethod
    async def over(
        cls, sock: socket.socket, kinds: Any, receive: Callable[[Any], None], lost: Callable[[], None]
    ) -> Batches:
        """Return what sends and receives through a socket; for arguments that are not here see the class.

        Args:
            sock: connected; it belongs to what is returned from now on.
        """
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_connection(lambda: cls(kinds, receive, lost), sock=sock)
        return protocol

    def connection_made(self, transport: Any) -> None:
        """Keep the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Hand over the messages that are whole."""
        self._buffer += data
        while len(self._buffer) >= 4:
            end = 4 + int.from_bytes(self._buffer[:4], "big")
            if len(self._buffer) < end:
                return
            batch = self._decoder.decode(memoryview(bytes(self._buffer[4:end])))
            del self._buffer[:end]
            for message in batch:
                self._receive(message)

    def connection_lost(self, error: Exception | None) -> None:
        """Tell the owner."""
        self._lost()

    def send(self, message: Any) -> None:
        """Send a message within `BATCH_S`, with all others of that time.

        Raises:
            UnicodeEncodeError: a text of it has a lone surrogate; nothing of it is sent.
        """
        self._outbox.append(msgspec.Raw(self._encoder.encode(message)))
        if len(self._outbox) == 1:
            asyncio.get_running_loop().call_later(BATCH_S, self.flush)

    def flush(self) -> None:
        """Send what is gathered."""
        if self._outbox and not self._transport.is_closing():
            batch, self._outbox = self._encoder.encode(self._outbox), []
            self._transport.write(len(batch).to_bytes(4, "big") + batch)

    def close(self) -> None:
        """Send what is gathered, and close the socket."""
        self.flush()
        self._transport.close()


class _Served:
    """Runs the engine of this process until the driver closes the socket."""

    def __init__(self) -> None:
        self._driver: Batches
        self._engine: ReplicaEngine
        self._start: asyncio.Future[Start] = asyncio.get_running_loop().create_future()
        self._left = asyncio.Event()
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def run(self, sock: socket.socket) -> None:
        """Start the engine, and answer."""
        self._driver = await Batches.over(sock, ToReplica, self._receive, self._left.set)
        if not await self._started(await self._start):
            return
        reporting = asyncio.ensure_future(self._report())
        await self._left.wait()
        reporting.cancel()
        for task in list(self._tasks.values()):
            task.cancel()
        await self._engine.close()

    async def _started(self, start: Start) -> bool:
        sys.path[:] = start.path
        if start.log is not None:
            library_log.go_on_in(Path(start.log))
        console.file = _Remarks(self._driver)
        module, _, name = start.function.partition(":")
        try:
            function = operator.attrgetter(name)(importlib.import_module(module))
            self._engine = engine = await function(**start.options)
            generation_config = dict(engine.generation_config)
            self._driver.send(Ready(engine.context_length, generation_config, engine.capacity, engine.tells_logprobs))
        except (ConfigError, EngineError) as error:
            self._driver.send(NotStarted(_printable(str(error)), isinstance(error, ConfigError)))
        except Exception as error:  # noqa: BLE001 - the driver says it
            self._driver.send(NotStarted(_printable(f"{type(error).__name__}: {error}"), False))
        else:
            return True
        self._driver.close()
        await self._left.wait()
        return False

    def _receive(self, message: ToReplica) -> None:
        match message:
            case Start():
                self._start.set_result(message)
            case Asked(number, request):
                self._tasks[number] = asyncio.create_task(self._answer(number, request))
            case Withdrawn(number) if number in self._tasks:
                self._tasks[number].cancel()

    async def _answer(self, number: int, request: Encoded) -> None:
        try:
            if request.response is not None:
                logprob = await self._engine.response_logprob(request.ids, request.response)
                completion = Completion("", "stop", choice_logprobs={"": logprob})
            else:
                ends = frozenset(request.end_tokens), tuple(request.end_strings)
                completion = await self._engine.answer(request, request.ids, ends)
            self._driver.send(Answered(number, completion))
        except RequestFailed as failure:
            self._driver.send(Failed(number, failure.reason, _printable(failure.detail)))
        except UnicodeEncodeError as error:
            self._driver.send(Failed(number, "refused", _printable(str(error))))
        except Exception as error:  # noqa: BLE001 - an EngineError, or a fault in this program; either ends the engine
            said = str(error) if isinstance(error, EngineError) else f"{type(error).__name__}: {error}"
            self._driver.send(Dead(_printable(said)))
        finally:
            del self._tasks[number]

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(_PROGRESS_S)
            self._driver.send(Progress(self._engine.progress()))


class _Remarks(io.StringIO):
    """What the console of this process writes becomes remarks, which the driver prints."""

    def __init__(self, driver: Batches) -> None:
        super().__init__()
        self._to = driver

    def write(self, text: str) -> int:
        for line in text.splitlines():
            if line.strip():
                self._to.send(Remark(_printable(line)))
        return len(text)


def main(arguments: list[str]) -> int:
    """Serve the driver at the other end of a socket."""
    descriptor, parent = map(int, arguments)
    parent_death.end_with_parent(parent, signal.SIGKILL)
    with contextlib.closing(socket.socket(fileno=descriptor)) as sock:

        async def serve() -> None:
            await _Served().run(sock)

        asyncio.run(serve())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
