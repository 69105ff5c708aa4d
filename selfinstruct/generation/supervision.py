"""The supervised engine of a run: restarted when it dies, its processes remembered beside the run."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from selfinstruct.console import console
from selfinstruct.engines import processes
from selfinstruct.engines.base import Engine
from selfinstruct.engines.supervised import Restart, SupervisedEngine
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.measurements import MetricsWriter

StartEngine = Callable[[], Awaitable[Engine]]

FIRST_RESTART_DELAY_S = 2.0


def supervised(
    run: RunDirectory,
    start_engine: StartEngine,
    metrics: MetricsWriter,
    *,
    max_restarts: int,
    stall_timeout: float,
    request_timeout: float,
) -> SupervisedEngine:
    """Return the engine of a run: it is restarted when it dies or hangs, and its processes are remembered.

    Args:
        run: where the processes are noted.
        start_engine: starts the engine.
        metrics: where restarts are noted.
        max_restarts: in a row, without an answer between them.
        stall_timeout: seconds without a token after which the engine hangs.
        request_timeout: seconds for one request.
    """
    return SupervisedEngine(
        start_engine,
        max_restarts=max_restarts,
        stall_timeout=stall_timeout,
        request_timeout=request_timeout,
        first_delay=FIRST_RESTART_DELAY_S,
        on_death=_say_death,
        on_restart=lambda restart: _note_restart(restart, metrics),
        on_processes=lambda numbers: processes.remember(run.engine, numbers),
    )


def with_recorded_context(run: RunDirectory, arguments: dict[str, Any], part: str | None = None) -> dict[str, Any]:
    """Return vLLM's engine arguments with the context of the run's first engine, where the user gives none.

    The default context depends on the machine, and a run may continue on another one.

    Args:
        run: the directory; it may hold no run.
        arguments: the user's.
        part: name of the values in the journal's header that are that engine's; None: the generator's.
    """
    if "max_model_len" in arguments or not run.journal.exists():
        return arguments
    resolved = run.header().resolved
    length = (resolved.get(part, {}) if part else resolved).get("context_length")
    return arguments | {"max_model_len": length} if length else arguments


def _say_death(cause: str, delay: float) -> None:
    console.print(f"the engine ended: {' '.join(cause.split())}; another one starts in {delay:g} s", markup=False)


def _note_restart(restart: Restart, metrics: MetricsWriter) -> None:
    console.print(f"the engine is back after {restart.seconds:g} s; {restart.resent} requests are sent again")
    metrics.append(event="engine_restarted", **dataclasses.asdict(restart))


@contextlib.asynccontextmanager
async def closing(engine: Engine) -> AsyncIterator[Engine]:
    """Close the engine at the end of the block, however that ends."""
    try:
        yield engine
    finally:
        await engine.close()
