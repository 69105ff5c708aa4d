"""Several replicas of a model as one engine. Each runs in a process of ours, with vLLM's own processes below it.

    driver ── replica 0: AsyncLLM ── vLLM's engine core ── workers
          └── replica 1: AsyncLLM ── ...

The driver encodes prompts, and gets whole answers: what vLLM does for each token is done in the replicas. One that dies
or hangs is started again (`supervised.py`), while the others answer its requests. One that cannot be started again is
taken out. The engine has ended when none is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import math
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import psutil

from selfinstruct import library_log
from selfinstruct.config.section import Sampling
from selfinstruct.console import console
from selfinstruct.engines import processes, startup, usable_gpus
from selfinstruct.engines.base import Engine, Request, RequestFailed
from selfinstruct.engines.model_facts import ModelFacts
from selfinstruct.engines.parallelism import own_replicas, parallelism
from selfinstruct.engines.replica_process import (
    Answered,
    Asked,
    Batches,
    Dead,
    Encoded,
    Failed,
    NotStarted,
    Progress,
    Ready,
    Remark,
    Start,
    ToDriver,
    Withdrawn,
)
from selfinstruct.engines.supervised import Moved, Restart, SupervisedEngine
from selfinstruct.engines.tokenized_prompts import TokenizedPrompts
from selfinstruct.errors import ConfigError, EngineError
from selfinstruct.hardware import Hardware
from selfinstruct.records import Completion, Prompt

FIRST_RESTART_DELAY_S = 2.0
_FAREWELL_S = 3.0
"""How long a replica may take to end by itself. vLLM's processes get a second of it."""


class Replica:
    """One replica, as the driver sees it. Make it with `await Replica.start(...)`."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.context_length = 0
        self.generation_config: Mapping[str, Any] = {}
        self.capacity = 1
        self.has_chat_template = self.brings_chat_template = self.tells_logprobs = False
        self._process: subprocess.Popen[bytes]
        self._link: Any = None
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Completion]] = {}
        self._progress = 0
        self._end: EngineError | None = None
        self._closed = False

    @classmethod
    async def start(
        cls,
        number: int,
        function: str,
        options: Mapping[str, Any],
        environment: Mapping[str, str],
        started: Callable[[psutil.Process], None],
    ) -> Replica:
        """Start a process with an engine.

        Args:
            number: of the replica; the first one's remarks are shown.
            function: that starts the engine, as `module:name`.
            options: of the function.
            environment: variables of the process that differ from this one's.
            started: called with the process once it runs; loading takes minutes.

        Raises:
            ConfigError: the model does not exist, or an argument is refused.
            EngineError: the engine did not start.
        """
        replica, (ours, theirs) = cls(number), socket.socketpair()
        command = [sys.executable, "-P", "-m", "selfinstruct.engines.replica_process"]
        command += [str(theirs.fileno()), str(os.getpid())]
        with theirs:
            replica._process = _process(command, theirs, environment)
        try:
            started(psutil.Process(replica._process.pid))
            replica._link = await Batches.over(ours, ToDriver, replica._receive, replica._lost)
            log = library_log.path()
            replica._link.send(Start(sys.path, function, dict(options), str(log) if log else None))
            await replica._ready
        except BaseException:
            replica._closed = True
            (replica._link or ours).close()  # The event loop still watches a socket that is closed behind its back.
            await asyncio.to_thread(replica._put_down, 0.0)
            raise
        return replica

    def generate(self, request: Request) -> asyncio.Future[Completion]:
        """Answer one request, which is `Encoded`; see `Engine.generate`. A future needs no task."""
        assert isinstance(request, Encoded)
        answer: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        if self._end is not None:
            answer.set_exception(self._end)
            return answer
        number = next(self._numbers)
        try:
            self._link.send(Asked(number, request))
        except UnicodeEncodeError as error:
            answer.set_exception(RequestFailed("refused", f"a text of it has a lone surrogate: {error.reason}"))
            return answer
        self._waiting[number] = answer
        answer.add_done_callback(partial(self._withdraw, number))
        return answer

    def _withdraw(self, number: int, answer: asyncio.Future[Completion]) -> None:
        """Tell the replica that nobody waits for an answer any more, if it was cancelled."""
        if self._waiting.pop(number, None) is not None and answer.cancelled():
            self._link.send(Withdrawn(number))

    def progress(self) -> int:
        """Return what the replica last said of its engine's progress, which it does once a second."""
        return self._progress

    async def close(self) -> None:
        """End the process, and those below it."""
        if not self._closed:
            self._closed = True
            self._link.close()
            await asyncio.to_thread(self._put_down, _FAREWELL_S)

    def _put_down(self, patience_s: float) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience_s)
        if self._process.returncode is None:
            processes.end([psutil.Process(self._process.pid)])
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)

    def _receive(self, message: ToDriver) -> None:
        match message:
            case Answered(number, completion):
                if (answer := self._waiting.pop(number, None)) is not None and not answer.done():
                    answer.set_result(completion)
            case Failed(number, reason, detail):
                if (answer := self._waiting.pop(number, None)) is not None and not answer.done():
                    answer.set_exception(RequestFailed(reason, detail))
            case Progress(number):
                self._progress = number
            case Dead(cause):
                self._ended_with(EngineError(cause))
            case Remark(line):
                if self.number == 0:
                    console.print(line, markup=False)
            case NotStarted(error, is_configuration):
                self._ended_with(ConfigError(error) if is_configuration else EngineError(error))
            case Ready(context_length, generation_config, capacity, tells_logprobs):
                self.context_length, self.generation_config = context_length, generation_config
                self.capacity, self.tells_logprobs = capacity, tells_logprobs
                if not self._ready.done():  # It is where the start was cancelled meanwhile.
                    self._ready.set_result(None)

    def _lost(self) -> None:
        if not self._closed:
            self._ending = asyncio.ensure_future(self._say_how_it_ended())

    async def _say_how_it_ended(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(self._process.wait, 1.0)
        when = "its process ended" if self._ready.done() else f"replica {self.number} ended while it started"
        self._ended_with(EngineError(f"{when}: {startup.exit_text(self._process.returncode)}"))

    def _ended_with(self, error: EngineError | ConfigError) -> None:
        if not self._ready.done():
            self._ready.set_exception(error)
        self._end = self._end or EngineError(str(error))
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(self._end)
        self._waiting.clear()


@dataclass(frozen=True, slots=True)
class Tell:
    """Whom a lane tells what happens to it."""

    death: Callable[[str, float], None] = lambda cause, delay: None
    restart: Callable[[Restart], None] = lambda restart: None
    processes: Callable[[], None] = lambda: None


class _Lane:
    """A replica, those that take its place when it ends, and how many requests it has.

    Args:
        number: counted from 0.
        start: starts a replica; is called with a function that gets its process.
        elsewhere: whether other replicas can answer its requests.
        limits: `max_restarts`, `stall_timeout` and `first_delay` of its supervision.
    """

    def __init__(
        self,
        number: int,
        start: Callable[[Callable[[psutil.Process], None]], Awaitable[Replica]],
        elsewhere: Callable[[], bool],
        limits: Mapping[str, Any],
    ) -> None:
        self.number = number
        self.in_flight = 0
        self.is_out = False
        self.replica: Replica
        self.tell = Tell()
        self._start = start
        self._process: psutil.Process | None = None
        self.engine = SupervisedEngine(
            self._started,
            **limits,
            request_timeout=math.inf,  # The driver's own supervision has one.
            on_death=lambda cause, delay: self.tell.death(f"replica {number}: {cause}", delay),
            on_restart=lambda restart: self.tell.restart(
                dataclasses.replace(restart, cause=f"replica {number}: {restart.cause}")
            ),
            on_processes=lambda _: self.tell.processes(),
            find=self._processes,
            elsewhere=elsewhere,
        )

    async def _started(self) -> Engine:
        def note(process: psutil.Process) -> None:
            self._process = process

        self.replica = await self._start(note)
        return cast(Engine, self.replica)  # It counts no tokens: the driver does. Its futures are awaited like calls.

    def _processes(self) -> set[psutil.Process]:
        if self._process is None or not processes.lives(self._process):
            return set()
        try:
            return {self._process} | processes.children(self._process)
        except psutil.Error:  # It has just ended.
            return set()


class Replicas(TokenizedPrompts):
    """An `Engine` of several replicas. Make it with `await Replicas.start(...)`."""

    def __init__(self, lanes: Sequence[_Lane], tokenizer: Any) -> None:
        first = lanes[0].replica
        super().__init__(tokenizer, first.context_length, first.generation_config)
        self.capacity = sum(lane.replica.capacity for lane in lanes)
        self.tells_logprobs = first.tells_logprobs
        self._lanes = lanes
        self._closed = False
        self._looks = itertools.count()

    @classmethod
    async def start(
        cls,
        function: str,
        options: Mapping[str, Any],
        environments: Sequence[Mapping[str, str]],
        tokenizer: Any,
        *,
        max_restarts: int = 5,
        stall_timeout: float = 300.0,
        first_delay: float = FIRST_RESTART_DELAY_S,
    ) -> Replicas:
        """Start the replicas: the first alone, since it fills the caches of compiled code that the others read.

        Args:
            function: that starts the engine of each, as `module:name`.
            options: of the function.
            environments: for each replica, variables of its process.
            tokenizer: of the model: the driver encodes the prompts.
            max_restarts: of a replica in a row, without an answer between them, after which it is taken out.
            stall_timeout: seconds without progress, while it has requests, after which a replica hangs.
            first_delay: seconds between its death and the first restart.

        Raises:
            ConfigError: the model does not exist, or an argument is refused.
            EngineError: one of them did not start; the others are ended.
        """

        def others_run(number: int) -> bool:
            return any(lane.engine.is_running for lane in lanes if lane.number != number)

        def lane_of(number: int, variables: Mapping[str, str]) -> _Lane:
            return _Lane(
                number,
                lambda note: Replica.start(number, function, options, variables, note),
                lambda: others_run(number),
                limits,
            )

        limits = {"max_restarts": max_restarts, "stall_timeout": stall_timeout, "first_delay": first_delay}
        lanes = [lane_of(number, variables) for number, variables in enumerate(environments)]
        try:
            await lanes[0].engine.launch()
            starting = [asyncio.ensure_future(lane.engine.launch()) for lane in lanes[1:]]
            try:
                await asyncio.gather(*starting)
            except BaseException:
                for start in starting:
                    start.cancel()
                await asyncio.gather(*starting, return_exceptions=True)
                raise
        except BaseException:
            running = [lane.engine.close() for lane in lanes if lane.engine.is_running]
            await asyncio.gather(*running, return_exceptions=True)
            raise
        return cls(lanes, tokenizer)

    def report_to(
        self,
        on_death: Callable[[str, float], None],
        on_restart: Callable[[Restart], None],
        on_processes: Callable[[], None],
    ) -> None:
        """Tell the supervision of the whole engine what happens to its replicas.

        Args:
            on_death: called with the cause, and the seconds until the replica is started again.
            on_restart: called when it is back.
            on_processes: called when it has other processes.
        """
        for lane in self._lanes:
            lane.tell = Tell(on_death, on_restart, on_processes)

    async def generate(self, request: Request) -> Completion:
        """Answer one request, by the replica with the fewest; see `Engine.generate`."""
        ids, (tokens, strings) = self.request_ids(request), self.ends(request.prompt)
        sent = {name: getattr(request, name) for name in _SENT}
        empty: Prompt = "" if isinstance(request.prompt, str) else []
        return await self._ask(
            Encoded(**sent, prompt=empty, ids=ids, end_tokens=list(tokens), end_strings=list(strings))
        )

    async def response_logprob(self, prompt_ids: list[int], response_ids: list[int]) -> float:
        """Return the log-probability of `response_ids` after `prompt_ids`; see `VLLMEngine.response_logprob`."""
        asked = Encoded("response", "", Sampling(), ids=prompt_ids, response=response_ids)
        measured = (await self._ask(asked)).choice_logprobs
        assert measured is not None
        return measured[""]

    def progress(self) -> int:
        """Return another number each time: each replica is watched by itself, and one that starts has no tokens."""
        return next(self._looks)

    async def close(self) -> None:
        """End all replicas."""
        self._closed = True
        await asyncio.gather(*(lane.engine.close() for lane in self._lanes))

    async def _ask(self, request: Encoded) -> Completion:
        deaths = 0
        while True:
            running = [lane for lane in self._lanes if lane.engine.is_running]
            left = running or [lane for lane in self._lanes if not lane.engine.is_over] or self._lanes
            lane = min(left, key=lambda lane: lane.in_flight)
            lane.in_flight += 1
            try:
                return await lane.engine.generate(request, deaths)
            except Moved:
                deaths += 1
            except EngineError as error:
                if self._closed or all(lane.engine.is_over for lane in self._lanes):
                    raise
                self._take_out(lane, error)
            finally:
                lane.in_flight -= 1

    def _take_out(self, lane: _Lane, error: EngineError) -> None:
        if not lane.is_out:
            lane.is_out = True
            cause, left = str(error).partition("\n")[0], sum(not lane.engine.is_over for lane in self._lanes)
            console.print(f"replica {lane.number} is taken out, {left} are left: {cause}", markup=False)


_SENT = tuple(field.name for field in dataclasses.fields(Request) if field.name != "prompt")


def placed(
    facts: ModelFacts, arguments: dict[str, Any], hardware: Hardware
) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Return vLLM's arguments for each replica of a model, and for each the variables of its process.

    Args:
        facts: of the model.
        arguments: vLLM's engine arguments, by its names.
        hardware: of this machine.
    """
    machine = (len(hardware.gpus), hardware.gpu_bytes)
    if (number := own_replicas(facts, arguments, *machine)) == 1:
        return arguments, [{}]
    own = {name: value for name, value in arguments.items() if name != "data_parallel_size"}
    divided = parallelism(facts, arguments, *machine)
    if hardware.gpus:
        own |= {"tensor_parallel_size": divided.tensor, "pipeline_parallel_size": divided.pipeline}
    return own, usable_gpus.for_each_replica(hardware.gpus, number, divided.gpus_per_replica)


def _process(command: list[str], theirs: socket.socket, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a process that ends with this one; it inherits a socket."""
    # In a group of its own: a Ctrl-C ends the driver, which ends the replicas in good order.
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        pass_fds=[theirs.fileno()],
        process_group=0,
        env={**os.environ, **environment},
    )
