"""Ask a model about many things at once, and commit what comes of it in the order of the things."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from selfinstruct.config.schema import GenerationConfig
from selfinstruct.console import AnswerProgress
from selfinstruct.engines.base import Engine
from selfinstruct.generation.supervision import StartEngine, closing, supervised
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.lines import Line, ScoreLine, TagsLine
from selfinstruct.run.measurements import MetricsWriter
from selfinstruct.signals import until_signal

Thing = TypeVar("Thing")


@contextlib.asynccontextmanager
async def running(config: GenerationConfig, run: RunDirectory, start: StartEngine) -> AsyncIterator[Engine]:
    """Start a supervised engine, and close it at the end of the block.

    Args:
        config: of the run.
        run: where the engine's processes are noted.
        start: starts it.
    """
    supervisor = supervised(
        run,
        start,
        MetricsWriter(run.metrics_path),
        max_restarts=config.max_engine_restarts,
        stall_timeout=config.stall_timeout,
        request_timeout=config.request_timeout,
    )
    async with closing(await until_signal(supervisor.launch())) as engine:
        yield engine


async def commit_in_order(
    things: Sequence[Thing],
    ask: Callable[[Thing], Awaitable[ScoreLine | TagsLine]],
    commit: Callable[[Line], None],
    progress: AnswerProgress,
    at_once: int = 1,
) -> None:
    """Ask about things, some at once; commit the lines in the order of the things.

    Args:
        things: in order.
        ask: returns the line about one.
        commit: appends a line.
        progress: counts them.
        at_once: how many are asked about at once.
    """
    waiting: deque[asyncio.Future[ScoreLine | TagsLine]] = deque()
    with progress:

        async def commit_next() -> None:
            line = await waiting[0]
            waiting.popleft()
            commit(line)
            progress.advance(line.completion.completion_tokens if line.completion else 0)

        try:
            for thing in things:
                waiting.append(asyncio.ensure_future(ask(thing)))
                if len(waiting) >= at_once:
                    await commit_next()
            while waiting:
                await commit_next()
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
