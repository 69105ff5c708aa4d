"""`selfinstruct generate`: seeds in, a journal of instructions and instances out; continues where it stopped."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from selfinstruct import deadline, jsonl, stopping
from selfinstruct import earlier as earlier_runs
from selfinstruct import seeds as seed_files
from selfinstruct.config import Config
from selfinstruct.deadline import Clock, Reserve
from selfinstruct.earlier import Earlier
from selfinstruct.engines import processes
from selfinstruct.engines.base import Engine, RequestFailed
from selfinstruct.engines.supervised import Restart, SupervisedEngine
from selfinstruct.errors import ConfigError, EngineError, Interrupted, StoppedError
from selfinstruct.journal import (
    VERSION,
    JournalWriter,
    Line,
    MetricsWriter,
    RunDirectory,
    read_lines,
    set_torn_tail_aside,
)
from selfinstruct.limits import Limits
from selfinstruct.pipeline import Pipeline
from selfinstruct.progress import GenerationProgress, console
from selfinstruct.prompts import PROMPTS_VERSION, Style
from selfinstruct.records import Instruction, SeedTask
from selfinstruct.signals import leave, on_signals, until_signal
from selfinstruct.sources import dump_yaml
from selfinstruct.state import RunState, replay
from selfinstruct.steps import Steps

StartEngine = Callable[[], Awaitable[Engine]]

_METRICS_INTERVAL_S = 5.0
_FIRST_RESTART_DELAY_S = 2.0


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
    tasks = seed_files.load([seed_files.resolve(name) for name in config.seeds])
    identity = {**config.identity(), "seeds_sha256": seed_files.fingerprint(tasks), "prompts_version": PROMPTS_VERSION}
    earlier = earlier_runs.load(config.earlier)
    if config.earlier:
        identity["earlier_sha256"] = earlier_runs.fingerprint(earlier)
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
                    stopping.record(run, str(ended))
                raise
    _say_when_stopped(state, max(state.target, config.num_instructions), limits)
    return state


@contextlib.contextmanager
def opened(run: RunDirectory, config: Config, identity: dict[str, Any], *, overwrite: bool) -> Iterator[RunState]:
    """Hold the run directory, where nothing or the run of this identity is; the state of what is there."""
    with on_signals(leave), run.locked():
        end_leftovers(run)
        if overwrite:
            discard(run)
        state = recover(run)
        if state.header:
            refuse_other_run(run, state.header["identity"], identity)
            jsonl.write_text(run.config, dump_yaml(config.kept()))
        yield state


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
                    with stopping.interruption_noted(commit, state):
                        await until_signal(pipeline.run())
                finally:
                    metering.cancel()
                    await asyncio.gather(metering, return_exceptions=True)


def supervised(
    config: Config, run: RunDirectory, start_engine: StartEngine, metrics: MetricsWriter
) -> SupervisedEngine:
    """The engine of a run: another one is started when it dies or hangs, and its processes are remembered."""
    return SupervisedEngine(
        start_engine,
        max_restarts=config.max_engine_restarts,
        stall_timeout=config.stall_timeout,
        request_timeout=config.request_timeout,
        first_delay=_FIRST_RESTART_DELAY_S,
        on_death=_say_death,
        on_restart=lambda restart: _note_restart(restart, metrics),
        on_processes=lambda found: processes.remember(run.engine, found),
    )


def end_leftovers(run: RunDirectory) -> None:
    """End engine processes that a run left behind when it was killed; they would hold the GPU's memory."""
    ended, left = processes.end_leftovers(run.engine)
    if ended:
        console.print(f"ended engine processes that the last start of this run left behind: {_listed(ended)}")
    if left:
        console.print(f"engine processes of the last start of this run cannot be ended: {_listed(left)}")


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _say_death(cause: str, delay: float) -> None:
    console.print(f"the engine ended: {' '.join(cause.split())}; another one starts in {delay:g} s", markup=False)


def _note_restart(restart: Restart, metrics: MetricsWriter) -> None:
    console.print(f"the engine is back after {restart.seconds:g} s; {restart.resent} requests are sent again")
    metrics.append(event="engine_restarted", **dataclasses.asdict(restart))


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
    if state.stopped is not None and stopping.is_lifted(state.stopped, config, finish_by):
        yield {"kind": "control", "event": "resumed", "after_proposal": state.proposals - 1}


def _anything_to_ask(config: Config, state: RunState, finish_by: float | None) -> bool:
    """Whether an engine is needed: loading one takes minutes."""
    if not state.header or state.pending():
        return True
    stopped = state.stopped is not None and not stopping.is_lifted(state.stopped, config, finish_by)
    return len(state.pool) < max(state.target, config.num_instructions) and not stopped


def recover(run: RunDirectory) -> RunState:
    """The state of what is there; a torn last line is set aside and reported."""
    if not run.journal.exists():
        return RunState()
    torn = set_torn_tail_aside(run)
    if torn:
        console.print(
            f"the journal's last line was cut short by a crash: {torn} bytes moved to {run.torn}; it is asked again"
        )
    return replay(read_lines(run.journal))


def refuse_other_run(run: RunDirectory, recorded: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raise `ConfigError`, with all differences, unless the recorded identity is the wanted one."""
    if recorded != wanted:
        raise ConfigError(
            f"{run.path} holds a run made with other settings:\n{_difference(recorded, wanted)}\n"
            "Give the recorded values to continue it, another --output-dir to keep both, or --overwrite to start anew"
        )


def _difference(recorded: dict[str, Any], wanted: dict[str, Any], prefix: str = "") -> str:
    lines = []
    for key in dict.fromkeys([*recorded, *wanted]):
        old, new = recorded.get(key), wanted.get(key)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            lines.append(_difference(old, new, f"{prefix}{key}."))
        else:
            lines.append(f"  {prefix}{key}: recorded {old!r}, now {new!r}")
    return "\n".join(lines)


def anchored(config: Config) -> Config:
    """The configuration with local paths made absolute, so that a run directory means the same from anywhere."""

    def absolute(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name if name in seed_files.PACKAGED else str(Path(name).resolve()) for name in names)

    evaluation = config.evaluate.model_copy(update={"tasks": absolute(config.evaluate.tasks)})
    rewriter = config.regenerate.model and _absolute_model(config.regenerate.model)
    earlier = tuple(str(Path(name).resolve()) for name in config.earlier)
    return config.model_copy(
        update={
            "seeds": absolute(config.seeds),
            "earlier": earlier,
            "model": _absolute_model(config.model),
            "evaluate": evaluation,
            "regenerate": config.regenerate.model_copy(update={"model": rewriter}),
        }
    )


def _absolute_model(name: str) -> str:
    """The path of a local model or adapter; other names as they are."""
    local = Path(name).expanduser()
    there = (local / "config.json").exists() or (local / "adapter_config.json").exists()
    return str(local.resolve()) if there else name


def discard(run: RunDirectory) -> None:
    """Remove what a run leaves behind, and nothing else that may lie in the directory."""
    import shutil

    damaged = run.path.glob(f"{run.damaged.name}-*")
    for path in (run.journal, run.torn, *damaged, run.metrics, run.config, run.report, run.schedule, run.stopped):
        path.unlink(missing_ok=True)
    for folder in (run.dataset, run.model, run.seeds_dataset, run.seeds_model, run.evaluation):
        shutil.rmtree(folder, ignore_errors=True)


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
    return seed_files.load([seed_files.resolve("seed_tasks")])


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
            f"{stopping.sentence(stop)}{whole}. {stopping.left_over(state, target)}.\nTo go on: {stopping.remedy(stop)}"
        )
    if limits.finish_by is not None and (not state.complete or len(state.pool) < target):
        what = stopping.left_over(state, target) if state.header else "Nothing has been generated"
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


@contextlib.asynccontextmanager
async def closing(engine: Engine) -> AsyncIterator[Engine]:
    """Close the engine at the end of the block, however that ends."""
    try:
        yield engine
    finally:
        await engine.close()
