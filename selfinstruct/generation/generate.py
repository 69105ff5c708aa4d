"""`selfinstruct generate`: seeds in, a journal of instructions and instances out; continues where it stopped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from selfinstruct import clock as deadline
from selfinstruct.clock import Clock, Reserve
from selfinstruct.config.load import dump_yaml
from selfinstruct.config.schema import Config
from selfinstruct.console import console
from selfinstruct.engines.base import Engine, RequestFailed
from selfinstruct.errors import ConfigError, EngineError, Interrupted, StoppedError
from selfinstruct.formats import jsonl, seed_tasks
from selfinstruct.generation import stop_rules
from selfinstruct.generation.budget import Limits
from selfinstruct.generation.pipeline import Pipeline
from selfinstruct.generation.progress import GenerationProgress
from selfinstruct.generation.prompts import PROMPTS_VERSION
from selfinstruct.generation.session import _difference, anchored, opened
from selfinstruct.generation.steps import Steps
from selfinstruct.generation.supervision import StartEngine, closing, supervised
from selfinstruct.records import Instruction, SeedTask, Style
from selfinstruct.run import parents
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.journal import VERSION, JournalWriter, Line, MetricsWriter
from selfinstruct.run.parents import Earlier
from selfinstruct.run.state import RunState
from selfinstruct.signals import until_signal

_METRICS_INTERVAL_S = 5.0


def generate(
    config: Config,
    start_engine: StartEngine,
    *,
    overwrite: bool = False,
    reserve: Reserve | None = None,
    clock: Clock = time.time,
) -> RunState:
    """Run generation to its target in `config.output_dir`, continuing what is there.

    Args:
        config: the configuration; `output_dir` must be set.
        start_engine: starts the engine; called only when there is something to ask it, and again when it dies.
        overwrite: discard the run that is there.
        reserve: time to leave before the deadline, for the stages that follow.
        clock: tells the time.

    Returns:
        The state at the end.

    Raises:
        ConfigError: the directory holds a run made with other settings (the message lists the differences), or a prompt
            cannot fit the model's context.
        InputError: broken seed files; a damaged journal.
        StoppedError: saturated, a limit was reached, or the engine died; the same command continues.
        Interrupted: by a signal; likewise.
        RunLockedError: another process writes the directory.
    """
    if config.output_dir is None:
        raise ConfigError("give a run directory: --output-dir RUN")
    run = RunDirectory(Path(config.output_dir))
    finish_by = deadline.earliest(config.limits.finish_by, config.limits.time_limit, clock())
    config = anchored(config)
    tasks = seed_tasks.load_seed_tasks(config.seeds)
    identity = {**config.identity(), "seeds_sha256": seed_tasks.fingerprint(tasks), "prompts_version": PROMPTS_VERSION}
    earlier = parents.load_parents(config.parent_runs)
    if config.parent_runs:
        identity["earlier_sha256"] = parents.fingerprint(earlier)
    with opened(run, config, identity, overwrite=overwrite) as state:
        run.stopped.unlink(missing_ok=True)
        if state.target and config.num_instructions < state.target:
            console.print(
                f"the run's target of {state.target} instructions stays; {config.num_instructions} would be fewer"
            )
        limits = Limits(config, state, clock, finish_by, reserve)
        if not limits.overdue() and _anything_to_ask(config, state, finish_by):
            try:
                asyncio.run(_grow(config, run, state, tasks, earlier, identity, start_engine, limits))
            except (EngineError, Interrupted) as ended:
                if state.header:  # Else there is no run yet.
                    stop_rules.record(run, str(ended))
                raise
    _say_when_stopped(state, max(state.target, config.num_instructions), limits)
    return state


async def _grow(
    config: Config,
    run: RunDirectory,
    state: RunState,
    tasks: list[SeedTask],
    earlier: Earlier,
    identity: dict[str, Any],
    start_engine: StartEngine,
    limits: Limits,
) -> None:
    console.print(f"starting the engine with model {config.model!r}")
    metrics = MetricsWriter(run.metrics)
    began = limits.clock()
    try:
        async with asyncio.timeout(limits.seconds_left()) as bound:
            launched = await until_signal(supervised(config, run, start_engine, metrics).launch())
    except TimeoutError:
        if not bound.expired():  # Then it is the engine's own: the Hub that did not answer, for example.
            raise
        console.print("the deadline came while the engine was still starting")
        return
    async with closing(launched) as engine:
        limits.engine_started(limits.clock() - began)
        borrowed, style = borrowed_seeds(tasks), style_of(config, engine)
        steps = Steps(config, tasks, borrowed, engine, style, earlier.instructions)
        check_fit(steps)
        if steps.borrows:
            console.print(f"the seeds hold no {' and no '.join(steps.borrows)} task: packaged examples are borrowed")
        resolved = {"style": style, "context_length": engine.context_length}
        with JournalWriter(run.journal, config.fsync_interval) as journal:

            def commit(line: Line) -> None:
                journal.append(line)
                state.apply(line)

            for line in _opening_lines(config, state, identity, resolved, limits.finish_by):
                commit(line)
            jsonl.write_text(run.config, dump_yaml(config.kept()))
            pipeline = Pipeline(steps, engine, state, journal.append, limits=limits)
            with GenerationProgress(state, lambda: pipeline.in_flight) as progress:
                pipeline.on_commit = progress.on_commit
                metering = asyncio.ensure_future(_meter(metrics, state, progress, limits))
                try:
                    with stop_rules.interruption_noted(commit, state):
                        await until_signal(pipeline.run())
                finally:
                    metering.cancel()
                    await asyncio.gather(metering, return_exceptions=True)


def _opening_lines(
    config: Config, state: RunState, identity: dict[str, Any], resolved: dict[str, Any], finish_by: float | None
) -> Iterator[Line]:
    """The lines that this start of the run adds before anything is asked; none for a plain continuation."""
    if not state.header:
        yield {
            "kind": "run",
            "version": VERSION,
            "identity": identity,
            "resolved": resolved,
            "num_instructions": config.num_instructions,
        }
        return
    if state.header["resolved"] != resolved:
        raise ConfigError(
            "the engine differs from the one that began this run:\n" + _difference(state.header["resolved"], resolved)
        )
    if config.num_instructions > state.target:
        yield {
            "kind": "control",
            "event": "target_raised",
            "after_proposal": state.proposals - 1,
            "num_instructions": config.num_instructions,
        }
    if state.stopped is not None and stop_rules.is_lifted(state.stopped, config, finish_by):
        yield {"kind": "control", "event": "resumed", "after_proposal": state.proposals - 1}


def _anything_to_ask(config: Config, state: RunState, finish_by: float | None) -> bool:
    """Whether an engine is needed: loading one takes minutes."""
    if not state.header or state.pending():
        return True
    stopped = state.stopped is not None and not stop_rules.is_lifted(state.stopped, config, finish_by)
    return len(state.pool) < max(state.target, config.num_instructions) and not stopped


def style_of(config: Config, engine: Engine) -> Style:
    """How this model is prompted.

    Raises:
        ConfigError: by a chat template that it does not have.
    """
    if config.prompting == "chat" and not engine.has_chat_template:
        raise ConfigError(
            f"--prompting chat: the tokenizer of {config.model!r} has no chat template; use --prompting completion"
        )
    if config.prompting == "auto":
        return "chat" if engine.has_chat_template else "completion"
    return config.prompting


def borrowed_seeds(tasks: list[SeedTask]) -> list[SeedTask]:
    """Packaged seeds, when the user's own lack one of the two kinds of task."""
    if any(t.is_classification for t in tasks) and not all(t.is_classification for t in tasks):
        return []
    return seed_tasks.load_seed_tasks(["seed_tasks"])


def check_fit(steps: Steps) -> None:
    """Refuse to start when not even an ordinary prompt of some step fits: every request of its kind would fail."""
    ordinary = Instruction("p000000-00", steps.seeds[0].instruction, 0)
    asks: dict[str, Callable[[], Any]] = {
        "proposal": lambda: steps.proposal_request(0, [], 0),
        "classification": lambda: steps.classification_request(ordinary),
        "instances": lambda: steps.instances_request(ordinary, is_classification=False),
    }
    for kind, ask in asks.items():
        try:
            ask()
        except RequestFailed as failure:
            raise ConfigError(
                f"a prompt cannot fit: {failure.detail}; "
                f"lower --{kind}.max-tokens, or use a model with a longer context"
            ) from failure


def _say_when_stopped(state: RunState, target: int, limits: Limits) -> None:
    """Raise `StoppedError` when generation ended before its target, or before all that was accepted had its turn."""
    stop = state.stopped if len(state.pool) < state.target else None
    if stop is not None:
        why = [f"{reason} {n}" for reason, n in state.rejected.most_common(3)]
        why += [f"{kind} requests failed ({reason}) {n}" for (kind, reason), n in state.failures.most_common(2)]
        whole = f"; over the whole run: {', '.join(why) or 'nothing rejected'}" if stop["event"] == "saturated" else ""
        raise StoppedError(
            f"{stop_rules.sentence(stop)}{whole}. {stop_rules.left_over(state, target)}.\n"
            f"To go on: {stop_rules.remedy(stop)}"
        )
    if limits.finish_by is not None and (not state.complete or len(state.pool) < target):
        what = stop_rules.left_over(state, target) if state.header else "Nothing has been generated"
        raise StoppedError(
            f"the deadline, {deadline.clock_text(limits.finish_by)}, has come. {what}.\n"
            "To go on: give the same command with a later deadline, or none"
        )


async def _meter(metrics: MetricsWriter, state: RunState, progress: GenerationProgress, limits: Limits) -> None:
    try:
        while True:
            await asyncio.sleep(_METRICS_INTERVAL_S)
            metrics.append(**_measured(state, progress, limits))
    finally:
        metrics.append(**_measured(state, progress, limits))


def _measured(state: RunState, progress: GenerationProgress, limits: Limits) -> dict[str, Any]:
    return {
        "accepted": len(state.pool),
        "candidates": state.candidates()[2],
        "proposals": state.proposals,
        "completion_tokens": state.completion_tokens,
        **progress.rates(),
        **limits.measured(),
    }
