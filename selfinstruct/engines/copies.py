"""Copies of a mixture of experts, each in an engine of vLLM's own.

vLLM's data parallelism makes copies of such a model step together, so that they could share experts: each step takes as
long as that of the busiest copy, and an idle copy computes for nothing. Copies that hold all experts need none of that.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable
from typing import Any

from selfinstruct.engines import startup

Started = tuple[Any, Callable[[], None]]
"""vLLM's engine, and the function that ends the thread that started it."""


class Copies:
    """Several of vLLM's engines as one: each request goes to the one with the fewest in flight."""

    def __init__(self, engines: list[Any]) -> None:
        self.engines = engines
        self._in_flight = [0] * len(engines)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engines[0], name)  # The configuration and the tokenizer are the same for all.

    @property
    def errored(self) -> bool:
        """Return whether any of them has ended."""
        return any(engine.errored for engine in self.engines)

    async def generate(self, *request: Any, **options: Any) -> AsyncIterator[Any]:
        """Yield the outputs of one request."""
        number = min(range(len(self.engines)), key=self._in_flight.__getitem__)
        self._in_flight[number] += 1
        try:
            async for output in self.engines[number].generate(*request, **options):
                yield output
        finally:
            self._in_flight[number] -= 1

    async def reset_prefix_cache(self) -> None:
        """Forget all prompts."""
        await asyncio.gather(*(engine.reset_prefix_cache() for engine in self.engines))

    def shutdown(self, timeout: float | None = None) -> None:
        """End all of them, also when one cannot be ended in good order; its error is raised then.

        Args:
            timeout: seconds before the processes of each are killed; None: vLLM's own.
        """
        with contextlib.ExitStack() as stack:
            for engine in self.engines:
                stack.callback(engine.shutdown, timeout)


async def start(make: Callable[[int], Any], number: int) -> Started:
    """Start several engines: the first alone, since it fills the caches of compiled code that the others read.

    Args:
        make: makes the engine with this number, counted from 0; may block for minutes.
        number: of engines.

    Raises:
        Exception: what `make` raised for the first that did not start; the others are ended.
    """
    started = [await startup.in_lasting_thread(functools.partial(make, 0), startup.end)]
    try:
        starts = [startup.in_lasting_thread(functools.partial(make, index), startup.end) for index in range(1, number)]
        others = [asyncio.ensure_future(start) for start in starts]
        try:
            outcomes = await asyncio.gather(*others, return_exceptions=True)
        except BaseException:  # Cancelled: those that have started must end, too.
            outcomes = await asyncio.gather(*others, return_exceptions=True)
            raise
        finally:
            started += [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
    except BaseException:
        for engine, release in started:
            with contextlib.suppress(Exception):  # The cause of the failed start says more.
                startup.end(engine)
            release()
        raise

    def release_all() -> None:
        for _, release in started:
            release()

    return Copies([engine for engine, _ in started]), release_all


def capacity(config: Any) -> int:
    """Return how many sequences one of vLLM's engines computes at once, on all its replicas.

    Args:
        config: vLLM's.
    """
    return int(config.scheduler_config.max_num_seqs * config.parallel_config.data_parallel_size)
