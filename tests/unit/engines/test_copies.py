"""Copies of a mixture of experts: each an engine of its own, the load even, an error the error of all."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from selfinstruct.config.schema import Sampling
from selfinstruct.engines import copies
from selfinstruct.engines.base import Request
from selfinstruct.engines.parallelism import separate_copies
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.engines.supervised import SupervisedEngine
from selfinstruct.engines.vllm import engine_arguments
from selfinstruct.errors import EngineError
from selfinstruct.hardware import Gpu, Hardware
from selfinstruct.records import Completion
from selfinstruct.text import GIB
from tests.unit.engines.test_parallelism import GPT_OSS_120B, LLAMA_70B

EIGHT = Hardware((Gpu("GPU", 141 * GIB, 141 * GIB),) * 8, 64 * GIB, 64 * GIB)


class Played:
    """One of vLLM's engines; it answers with its number when it is let."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.errored = False
        self.ended = 0
        self.let = asyncio.Event()
        self.model_config = f"model of {number}"

    async def generate(self, prompt: str) -> AsyncIterator[int]:
        await self.let.wait()
        yield self.number

    def shutdown(self, timeout: float | None = None) -> None:
        self.ended += 1


async def answer(engines: copies.Copies) -> list[int]:
    return [output async for output in engines.generate("?")]


async def test_a_request_goes_to_the_copy_with_the_fewest() -> None:
    played = [Played(number) for number in range(3)]
    engines = copies.Copies(list(played))
    waiting = [asyncio.ensure_future(answer(engines)) for _ in range(6)]
    await asyncio.sleep(0)
    played[1].let.set()
    done = [await task for task in (waiting[1], waiting[4])]
    more = asyncio.ensure_future(answer(engines))
    assert [*done, await more] == [[1], [1], [1]]
    for engine in played:
        engine.let.set()
    assert sorted(number for answered in await asyncio.gather(*waiting) for number in answered) == [0, 0, 1, 1, 2, 2]
    assert engines.model_config == "model of 0" and not engines.errored
    played[2].errored = True
    assert engines.errored


async def test_the_first_starts_alone_and_all_threads_last() -> None:
    seen: list[tuple[int, int]] = []
    first = threading.Event()

    def make(number: int) -> Played:
        if number == 0:
            first.set()
        assert first.is_set()
        seen.append((number, threading.get_ident()))
        return Played(number)

    engines, release = await copies.start(make, 4)
    assert sorted(number for number, _ in seen) == [0, 1, 2, 3] and seen[0][0] == 0
    alive = {thread.ident for thread in threading.enumerate()}
    assert {thread for _, thread in seen} <= alive and len({thread for _, thread in seen}) == 4
    engines.shutdown()
    release()
    assert [engine.ended for engine in engines.engines] == [1, 1, 1, 1]


async def test_a_copy_that_does_not_start_ends_the_others() -> None:
    made: list[Played] = []

    def make(number: int) -> Played:
        if number == 2:
            raise RuntimeError("CUDA error")
        made.append(Played(number))
        return made[-1]

    with pytest.raises(RuntimeError, match="CUDA error"):
        await copies.start(make, 4)
    assert [engine.ended for engine in made] == [1, 1, 1]


@pytest.mark.parametrize(
    ("given", "number"),
    [({}, 8), ({"tensor_parallel_size": 2}, 4), ({"tensor_parallel_size": 8}, 1), ({"data_parallel_size": 4}, 1)],
)
def test_only_mixtures_of_experts_get_engines_of_their_own(given: dict[str, Any], number: int) -> None:
    experts = dataclasses.replace(GPT_OSS_120B, experts=128)
    assert separate_copies(experts, given, 8, 141 * GIB) == number
    assert separate_copies(LLAMA_70B, given, 8, 141 * GIB) == 1
    together = engine_arguments(experts, given, EIGHT)["data_parallel_size"]
    assert together == (given.get("data_parallel_size", 1) if number == 1 else 1)


async def test_one_that_cannot_be_ended_leaves_no_other_alive() -> None:
    played = [Played(number) for number in range(3)]
    played[0].shutdown = played[1].shutdown = lambda timeout: 1 / 0  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        copies.Copies(list(played)).shutdown()
    assert played[2].ended == 1

    def make(number: int) -> Any:
        if number == 2:
            raise ValueError("no room")
        return played[number]

    with pytest.raises(ValueError, match="no room"):
        await copies.start(make, 3)


async def test_a_start_that_is_cancelled_ends_the_copies_that_have_started() -> None:
    played = [Played(number) for number in range(3)]
    begun: set[int] = set()
    slow = threading.Event()

    def make(number: int) -> Any:
        begun.add(number)
        if number == 2:
            slow.wait(60)
        return played[number]

    starting = asyncio.ensure_future(copies.start(make, 3))
    await until(lambda: begun == {0, 1, 2})
    starting.cancel()
    slow.set()
    with pytest.raises(asyncio.CancelledError):
        await starting
    await until(lambda: all(engine.ended for engine in played))
    assert [engine.ended for engine in played] == [1, 1, 1]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)


class Dying(Played):
    """Answers, but for the first copy: a request ends it."""

    async def generate(self, prompt: str) -> AsyncIterator[int]:
        await self.let.wait()
        if self.number == 0:
            self.errored = True
            raise RuntimeError("the engine is dead")
        yield self.number


class OverCopies(ScriptedEngine):
    """Asks the copies first, as `VLLMEngine` does: the death of one is an error of the engine."""

    def __init__(self, played: copies.Copies) -> None:
        super().__init__(lambda request: Completion(request.key, "stop"))
        self.copies = played

    async def generate(self, request: Request) -> Completion:
        try:
            await answer(self.copies)
        except RuntimeError as error:
            assert self.copies.errored
            raise EngineError(str(error)) from error
        return await super().generate(request)


async def test_a_copy_that_dies_is_replaced_with_all_others_and_nothing_is_lost() -> None:
    starts = 0

    async def start() -> OverCopies:
        nonlocal starts
        starts += 1
        played = [(Dying if starts == 1 else Played)(number) for number in range(3)]
        for engine in played:
            engine.let.set()
        return OverCopies(copies.Copies(list(played)))

    causes: list[str] = []
    engine = await SupervisedEngine(
        start,
        max_restarts=2,
        stall_timeout=600,
        request_timeout=600,
        first_delay=0,
        on_death=lambda cause, delay: causes.append(cause),
    ).launch()
    asked = [engine.generate(Request(f"r{n}", "?", Sampling(max_tokens=1))) for n in range(6)]
    assert [done.text for done in await asyncio.gather(*asked)] == [f"r{n}" for n in range(6)]
    await engine.close()
    assert starts == 2 and len(causes) == 1 and "the engine is dead" in causes[0]
