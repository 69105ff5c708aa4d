"""An engine that restarts the engine it drives when that one dies or hangs.

When the driven engine dies (`EngineError`) or makes no progress, its processes are ended, another engine is started,
and the requests that were in flight are sent again. Requests that were in flight at two deaths are suspects. They are
sent one at a time, with no other request in flight. A suspect is marked failed only if it kills a fresh engine. An
engine that has answered others may have died of something else; then the suspect is sent again, as the first request.

    waiting ──> in flight ──> answered
       ^            │ the engine dies
       └────────────┘ second death: alone ──> kills a fresh engine: condemned ──> failed once another engine answers

The caller of `generate` waits during restarts, and gets exactly one answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import psutil

from selfinstruct.engines import processes
from selfinstruct.engines.base import Engine, Request, RequestFailed
from selfinstruct.errors import ConfigError, EngineError, SelfInstructError
from selfinstruct.records import Completion, Prompt

_DEATHS_OF_A_SUSPECT = 2
_LONGEST_DELAY_S = 60.0
_LONGEST_FAREWELL_S = 5.0
"""How long a cancelled request may take to leave the engine."""


class Moved(Exception):
    """The engine has ended, and another one can answer this request meanwhile."""


@dataclass(frozen=True, slots=True)
class Restart:
    """One restart that succeeded.

    Attributes:
        cause: how the engine before it ended.
        attempt: restarts since an engine last answered anything, this one included.
        resent: requests that were in flight and are asked again.
        seconds: from the end of the old engine to the new one.
    """

    cause: str
    attempt: int
    resent: int
    seconds: float


@dataclass(eq=False, slots=True)
class _Flight:
    """A request, and the future on which its caller waits."""

    request: Request
    answer: asyncio.Future[Completion]
    task: asyncio.Task[Completion] | None = None
    age: float = 0.0
    """Seconds since it was sent to the present engine."""
    deaths: int = 0

    @property
    def suspect(self) -> bool:
        return self.deaths >= _DEATHS_OF_A_SUSPECT

    def tell(self, outcome: Completion | BaseException) -> None:
        """Set the outcome for the waiting caller; no-op if it was cancelled."""
        if self.answer.done():
            return
        if isinstance(outcome, BaseException):
            self.answer.set_exception(outcome)
        else:
            self.answer.set_result(outcome)


class SupervisedEngine:
    """Drives the engine that `start` starts, and starts another one when it ends. Make it with `launch`.

    Time is counted in ticks of a task of this event loop, not by the clock. So a program that was itself stopped for an
    hour (Ctrl-Z, a sleeping laptop) does not see a hang.

    Args:
        start: starts an engine; child processes that appear during this call are the engine's.
        max_restarts: restarts in a row, without an answer between them, after which the engine is given up.
        stall_timeout: seconds without progress, while requests are in flight, that count as a hang.
        request_timeout: longest time for one request, in seconds.
        first_delay: seconds between a death and the first restart; doubled for each that follows, up to a minute.
        on_death: called when the engine has ended, with the cause and the seconds until another one is started.
        on_restart: called after each restart.
        on_processes: called with the engine's processes whenever they change; with none at the end.
        find: finds all processes that could be the engine's.
        elsewhere: whether another engine can answer requests while this one is started again.

    Raises of `generate`: `RequestFailed` as the driven engine does, and with reason `timeout` or `killed_engine`;
        `EngineError` once the engine is given up; what `start` raises when it is no error of ours; `Moved` when
        another engine is to be asked.
    """

    def __init__(
        self,
        start: Callable[[], Awaitable[Engine]],
        *,
        max_restarts: int,
        stall_timeout: float,
        request_timeout: float,
        first_delay: float,
        on_death: Callable[[str, float], None] = lambda cause, delay: None,
        on_restart: Callable[[Restart], None] = lambda restart: None,
        on_processes: Callable[[Iterable[psutil.Process]], None] = lambda engine_processes: None,
        find: Callable[[], set[psutil.Process]] = processes.children,
        elsewhere: Callable[[], bool] = lambda: False,
    ) -> None:
        self._start = start
        self._max_restarts = max_restarts
        self._stall_timeout = stall_timeout
        self._request_timeout = request_timeout
        self._first_delay = first_delay
        self._on_death = on_death
        self._on_restart = on_restart
        self._on_processes = on_processes
        self._find = find
        self._elsewhere = elsewhere
        self._engine: Engine
        self._processes: set[psutil.Process] = set()
        self._waiting: dict[_Flight, None] = {}  # dictionaries as sets that keep their order
        self._in_flight: dict[_Flight, None] = {}
        self._condemned: dict[_Flight, RequestFailed] = {}
        self._leaving: set[asyncio.Task[Completion]] = set()
        self._running = False
        self._ended: BaseException | None = None
        self._failures = 0
        self._answers = 0
        self._fresh = True
        self._quiet = 0.0
        self._watching: asyncio.Task[None] | None = None
        self._reviving: asyncio.Task[None] | None = None

    async def launch(self) -> SupervisedEngine:
        """Start the first engine. Its errors are raised, without a restart: the user can correct the cause."""
        self._engine = await self._started()
        self.context_length = self._engine.context_length
        self.capacity = self._engine.capacity
        self.has_chat_template = self._engine.has_chat_template
        self.brings_chat_template = self._engine.brings_chat_template
        self.tells_logprobs = self._engine.tells_logprobs
        self._running = True
        self._watching = self._in_background(self._watch())
        return self

    def count_tokens(self, prompt: Prompt) -> int:
        """Return the number of tokens of the prompt, as `Engine.count_tokens`; it also works between two engines."""
        return self._engine.count_tokens(prompt)

    def progress(self) -> int:
        """Return the driven engine's progress; see `Engine.progress`."""
        return self._engine.progress()

    @property
    def is_running(self) -> bool:
        """Whether the engine takes requests now."""
        return self._running

    @property
    def is_over(self) -> bool:
        """Whether no further engine will be started."""
        return self._ended is not None

    async def generate(self, request: Request, deaths: int = 0) -> Completion:
        """Answer one request, over as many engines as it takes.

        Args:
            request: the request.
            deaths: how many other engines ended while they had it.
        """
        if self._ended is not None:
            raise self._ended
        flight = _Flight(request, asyncio.get_running_loop().create_future(), deaths=deaths)
        self._waiting[flight] = None
        self._send()
        try:
            return await flight.answer
        finally:
            if not flight.answer.done() or flight.answer.cancelled():
                self._withdraw(flight)
            else:
                flight.answer.exception()  # Marks it as retrieved, also if the caller was cancelled in the same turn.

    async def close(self) -> None:
        """End the engine and its processes; cancel requests in flight."""
        if self._ended is None:
            self._end_with(EngineError("the engine is closed"))
        background = [task for task in (self._watching, self._reviving) if task is not None]
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=_LONGEST_FAREWELL_S)
        await self._engine.close()
        await asyncio.to_thread(processes.end, self._processes)
        self._note_processes(set())

    # ---------------------------------------------------------------------------------------------- requests

    def _send(self) -> None:
        """Send the waiting requests to the engine: suspects first and each alone, then all the others."""
        if not self._running or (self._in_flight and not self._waiting):
            return
        suspects = [flight for flight in self._waiting if flight.suspect]
        alone = any(flight.suspect for flight in islice(self._in_flight, 1))  # A suspect is the only request in flight.
        if suspects and not self._in_flight:
            self._send_one(suspects[0])
        elif not suspects and not alone:
            for flight in list(self._waiting):
                self._send_one(flight)
        if not self._in_flight and not self._waiting:
            self._fail_condemned()  # No request is left whose answer could clear them.

    def _send_one(self, flight: _Flight) -> None:
        del self._waiting[flight]
        self._in_flight[flight] = None
        flight.age = 0.0
        flight.task = asyncio.ensure_future(self._engine.generate(flight.request))
        flight.task.add_done_callback(lambda task: self._landed(flight, task))

    def _landed(self, flight: _Flight, task: asyncio.Task[Completion]) -> None:
        """Handle the result of a request: an answer, a failure of the request, or the engine's end."""
        self._leaving.discard(task)
        error = EngineError("the engine dropped a request") if task.cancelled() else task.exception()
        if flight.task is not task or flight not in self._in_flight:
            return  # Cancelled, timed out, or sent again in the meantime.
        if isinstance(error, EngineError):
            self._died(error)
            return
        del self._in_flight[flight]
        self._fresh = False
        if error is None:
            self._answers += 1
            self._failures = 0
            self._fail_condemned()
        flight.tell(task.result() if error is None else error)
        self._send()

    def _withdraw(self, flight: _Flight) -> None:
        """Remove a request whose caller was cancelled; the engine aborts it."""
        self._waiting.pop(flight, None)
        self._condemned.pop(flight, None)
        if flight in self._in_flight:
            del self._in_flight[flight]
            self._take_back(flight)
        self._send()

    def _take_back(self, flight: _Flight) -> None:
        if flight.task is not None and not flight.task.done():
            self._leaving.add(flight.task)
            flight.task.cancel()

    def _fail_condemned(self) -> None:
        for flight, failure in self._condemned.items():
            flight.tell(failure)
        self._condemned.clear()

    # --------------------------------------------------------------------------------------- death and revival

    async def _watch(self) -> None:
        """Detect hangs and requests that take too long."""
        tick = min(1.0, self._stall_timeout / 10, self._request_timeout / 10)
        seen = None
        while True:
            await asyncio.sleep(tick)
            now = (self._answers, self._engine.progress())
            if not self._running or not self._in_flight or now != seen:
                self._quiet = 0.0
            else:
                self._quiet += tick
            seen = now
            if self._quiet >= self._stall_timeout:
                self._died(EngineError(f"no progress for {self._stall_timeout:g} s (--stall-timeout)"))
                continue
            for flight in list(self._in_flight) if self._running else ():
                flight.age += tick
                if flight.age >= self._request_timeout and flight in self._in_flight:
                    del self._in_flight[flight]
                    self._take_back(flight)
                    detail = f"no answer within {self._request_timeout:g} s (--request-timeout)"
                    flight.tell(RequestFailed("timeout", detail))
                    self._send()

    def _died(self, cause: EngineError) -> None:
        """Handle the end or hang of the engine: its requests in flight wait for the next engine."""
        if not self._running:
            return
        self._running = False
        # Answers that came before the end count; they are delivered at the next turn of the loop.
        lost = [flight for flight in self._in_flight if not _answered(flight)]
        guilty = len(self._in_flight) == 1 and self._fresh
        for flight in lost:
            del self._in_flight[flight]
            self._take_back(flight)
            if flight.suspect and guilty:
                self._condemned[flight] = RequestFailed("killed_engine", str(cause))
            flight.deaths += 1
        resent = [flight for flight in lost if flight not in self._condemned]
        self._waiting = dict.fromkeys([*resent, *self._waiting])
        if self._elsewhere():
            for flight in [flight for flight in self._waiting if not flight.suspect]:
                del self._waiting[flight]
                flight.tell(Moved())
        self._reviving = self._in_background(self._revive(cause, len(resent)))

    async def _revive(self, cause: SelfInstructError, resent: int) -> None:
        """Start engines until one works, or give up."""
        began = asyncio.get_running_loop().time()
        first = cause
        while True:
            if self._failures >= self._max_restarts:
                await self._put_down()
                self._end_with(self._given_up(cause))
                return
            delay = min(self._first_delay * 2 ** min(self._failures, 30), _LONGEST_DELAY_S)
            self._failures += 1
            self._on_death(str(cause), delay)
            await self._put_down()
            await asyncio.sleep(delay)
            try:
                engine = await self._started()
            except (EngineError, ConfigError) as error:  # The configuration worked for the first engine.
                cause = error
                continue
            break
        if (engine.context_length, engine.has_chat_template) != (self.context_length, self.has_chat_template):
            self._engine = engine
            raise EngineError(
                f"the restarted engine differs: context length {engine.context_length}, was {self.context_length}; "
                "set --max-model-len so that it does not depend on free memory"
            )
        self._engine, self._fresh, self._quiet = engine, True, 0.0
        seconds = asyncio.get_running_loop().time() - began
        self._on_restart(Restart(str(first), self._failures, resent, round(seconds, 1)))
        self._running = True
        self._send()

    def _given_up(self, cause: SelfInstructError) -> EngineError:
        times = f"{self._max_restarts + 1} times without an answer in between, the last time: "
        return EngineError(
            f"the engine ended {times if self._max_restarts else ''}{cause}\n"
            "What was committed is safe; the same command continues (--max-engine-restarts allows for more)"
        )

    def _end_with(self, error: BaseException) -> None:
        """Raise the error in all waiting callers: no further engine will be started."""
        self._running = False
        self._ended = error
        for flight in [*self._in_flight, *self._waiting, *self._condemned]:
            self._take_back(flight)
            flight.tell(error)
        self._in_flight, self._waiting, self._condemned = {}, {}, {}

    # ------------------------------------------------------------------------------------- engines and processes

    async def _started(self) -> Engine:
        """Start an engine. Record its processes as they appear, since loading takes minutes."""
        before = self._find()
        starting = asyncio.ensure_future(self._start())
        try:
            while not (await asyncio.wait([starting], timeout=1.0))[0]:
                self._note_processes(self._find() - before)
            engine = starting.result()
            self._note_processes(self._find() - before)
            if (report_to := getattr(engine, "report_to", None)) is not None:  # One of several replicas.
                report_to(self._on_death, self._on_restart, lambda: self._note_processes(self._find() - before))
            return engine
        except BaseException:
            starting.cancel()
            await asyncio.to_thread(processes.end, self._find() - before)
            await asyncio.gather(starting, return_exceptions=True)
            self._note_processes(set())
            raise

    async def _put_down(self) -> None:
        """End the engine: first its processes, so that closing it does not wait for them."""
        await asyncio.to_thread(processes.end, self._processes)
        self._note_processes(set())
        await self._engine.close()

    def _note_processes(self, engine_processes: set[psutil.Process]) -> None:
        if engine_processes != self._processes:
            self._processes = engine_processes
            self._on_processes(engine_processes)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a part of the supervision as a task; if it fails, raise its error in all waiting callers."""

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                self._end_with(error)

        task = asyncio.create_task(work)
        task.add_done_callback(ended)
        return task


def _answered(flight: _Flight) -> bool:
    """Return whether an engine has answered, even if the answer is not delivered yet."""
    task = flight.task
    return task is not None and task.done() and not task.cancelled() and not isinstance(task.exception(), EngineError)
