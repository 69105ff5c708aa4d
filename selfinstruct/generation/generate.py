"""`selfinstruct generate`: from seeds to a journal of instructions and instances; continues where it stopped."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from selfinstruct import clock as deadline
from selfinstruct import novelty
from selfinstruct.clock import Clock, Reserve
from selfinstruct.config import earlier_defaults
from selfinstruct.config.load import dump_yaml
from selfinstruct.config.schema import Config, ConfigT, GenerationConfig, Prompting
from selfinstruct.console import console
from selfinstruct.engines.base import Engine, RequestFailed, most_in_flight
from selfinstruct.engines.supervised import SupervisedEngine
from selfinstruct.errors import ConfigError, EngineError, Interrupted, StoppedError
from selfinstruct.formats import jsonl, seed_tasks
from selfinstruct.gc_paused import gc_frozen
from selfinstruct.generation import calibration, stop_rules
from selfinstruct.generation.budget import BudgetTracker
from selfinstruct.generation.frame import Frame
from selfinstruct.generation.material import Material
from selfinstruct.generation.method import Method
from selfinstruct.generation.pipeline import EVERY_KIND, Pipeline, RequestKind
from selfinstruct.generation.progress import GenerationProgress, still
from selfinstruct.generation.rating_beside import rating_beside
from selfinstruct.generation.score_bounds import refuse_unrated
from selfinstruct.generation.session import difference, opened, recorded_identity
from selfinstruct.generation.steps import Steps
from selfinstruct.generation.supervision import StartEngine, closing, supervised
from selfinstruct.generation.window import first_window, window_soon
from selfinstruct.records import Instruction, SeedTask, Style
from selfinstruct.run import ownership, trackers
from selfinstruct.run.classification_share import odd_share
from selfinstruct.run.control_lines import Resumed, Saturated, TargetRaised
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.header_values import Calibration
from selfinstruct.run.journal import JournalWriter
from selfinstruct.run.lines import VERSION, Header, Line
from selfinstruct.run.measurements import MetricsWriter, last_speed
from selfinstruct.run.state import RunState
from selfinstruct.run.without_instances import REMEDY, without_instances
from selfinstruct.signals import until_signal
from selfinstruct.text import duration

_METRICS_INTERVAL_S = 5.0


def generate(
    config: Config,
    start_engine: StartEngine,
    start_answering: StartEngine | None = None,
    start_judge: StartEngine | None = None,
    *,
    overwrite: bool = False,
    reserve: Reserve | None = None,
    clock: Clock = time.time,
) -> RunState:
    """Generate up to the target in `config.output_dir`; continue the run that is there.

    Args:
        config: the configuration; `output_dir` must be set.
        start_engine: starts the engine; called only when there are requests to make, and again when it dies.
        start_answering: likewise another model that answers (`answer.model`), when the first has ended.
        start_judge: likewise a judge beside them (`rate.beside`); None: the generator judges.
        overwrite: discard the run that is there.
        reserve: time to leave before the deadline, for the stages that follow.
        clock: returns the time in Unix seconds.

    Returns:
        The state at the end.

    Raises:
        ConfigError: the directory holds a run made with other settings, or a prompt cannot fit the model's context.
        InputError: broken seed files; a damaged journal.
        StoppedError: saturated, a limit was reached, or the engine died; the same command continues.
        Interrupted: by a signal; likewise. RunLockedError: another process writes the directory.
    """
    run = RunDirectory.at(config.output_dir)
    finish_by = deadline.earliest(config.limits.finish_by, config.limits.time_limit, clock())
    recorded = {} if overwrite else recorded_identity(run)
    config = continuing(config, recorded)
    material = Material.of(config, config.evaluate, run, recorded)
    identity = material.identity(config)
    with opened(run, identity, dump_yaml(config.kept()), config.inputs(), overwrite=overwrite) as state:
        if not overwrite:
            run.stopped.unlink(missing_ok=True)
        if (fewer := config.num_instructions) < state.target:
            console.print(f"the run's target of {state.target} instructions stays; {fewer} would be fewer")
        budget = BudgetTracker(config.limits, Method.of(config), state, clock, finish_by, reserve)
        stop = state.stopped
        lifted = stop is not None and stop_rules.is_lifted(stop, config.limits, config.saturation, finish_by)
        if finish_by is not None and reserve is None:  # With a reserve, `run` has said it.
            warn_of_slow_start(run, finish_by - clock())
        if not budget.overdue() and _anything_to_ask(state, config.num_instructions, lifted):
            engines = (start_engine, start_answering, start_judge)
            try:
                with trackers.opened(config.report_to, run) as track:
                    asyncio.run(_run(config, run, state, material, identity, engines, track, budget, lifted))
            except (EngineError, Interrupted) as ended:
                if state.begun:
                    stop_rules.record(run, str(ended))
                raise
    if odd := odd_share(state, material.classification_share):
        console.print(odd, markup=False)
    if why := without_instances(state):
        console.print(f"{why}; {REMEDY.format(run=run.path)}", markup=False)
    _raise_when_stopped(state, max(state.target, config.num_instructions), budget.finish_by)
    return state


def continuing(config: ConfigT, recorded: dict[str, Any]) -> ConfigT:
    """Return the configuration as the run that is there has it, where options are left out, and with its windows.

    A new run's windows follow from the target of its first start, so that a raised target changes no proposal.

    Args:
        config: the configuration of this call.
        recorded: the identity of the run that it continues; empty if there is none.

    Raises:
        ConfigError: a new run is to decide by scores, which it does not have.
    """
    if not recorded:
        refuse_unrated(config.answer.keep, config.scores)
    config = earlier_defaults.continuing(config.anchored(), recorded)
    window = config.window or recorded.get("window") or first_window(config.num_instructions)
    soon = config.window_soon or recorded.get("window_soon") or window_soon(window)
    return config.model_copy(update={"window": window, "window_soon": soon})


def warn_of_slow_start(run: RunDirectory, left: float) -> None:
    """Say at once when the deadline comes before the engine can have started, by its last start in this run.

    Args:
        run: the run directory.
        left: seconds to the deadline.
    """
    start_s, _ = last_speed(run.metrics())
    if 0 < left <= start_s:
        console.print(
            f"the deadline is {duration(left)} away, and the engine took {duration(start_s)} to start last time: "
            "nothing will be generated; give a later --finish-by or a longer --time-limit"
        )


async def _run(
    config: GenerationConfig,
    run: RunDirectory,
    state: RunState,
    material: Material,
    identity: dict[str, Any],
    engines: tuple[StartEngine, StartEngine | None, StartEngine | None],
    track: trackers.Log,
    budget: BudgetTracker,
    lifted: bool,
) -> None:
    """Run the generator and then, where another model answers, that one; each if it has anything to do."""
    if material.left_out:
        console.print(f"left out of the seeds: {', '.join(seed_tasks.left_out_texts(material.left_out))}", markup=False)
    start_engine, start_answering, judge = engines
    metrics = MetricsWriter(run.metrics_path, track)
    left = {follow_up.kind for follow_up in state.pending()}
    target = max(state.target, config.num_instructions)
    wanted = not state.begun or (len(state.pool) < target and (state.stopped is None or lifted))
    if wanted or left != {"answer"} or config.answer.model is None:
        async with _engine(config, run, config.model, start_engine, metrics, budget) as engine:
            if engine is None:
                return
            # A run keeps the style it began with: others count a template as learnt that earlier versions did not.
            kept = state.header.resolved["style"] if state.begun and config.prompting == "auto" else config.prompting
            style = style_of(kept, config.model, engine)
            steps = _steps(Method.of(config), material, engine, style)
            check_fit(steps, config.model)
            resolved = {"style": style, "context_length": engine.context_length}
            steps.calibration = await _calibration(state, steps, engine)
            header = Header(VERSION, identity, resolved, config.num_instructions, calibration=steps.calibration)
            if not state.begun:
                ownership.discard(run)  # The run that is to be overwritten, if there is one.
                material.keep(run)
            asks = EVERY_KIND if config.answer.model is None else EVERY_KIND[:-1]
            await _drive(config, run, state, steps, metrics, budget, asks, _opening_lines(state, header, lifted), judge)
    if config.answer.model is None or start_answering is None or budget.overdue() or not state.pending():
        return
    async with _engine(config, run, config.answer.model, start_answering, metrics, budget) as engine:
        if engine is not None:
            style = "chat" if engine.has_chat_template else "completion"
            steps = _steps(Method.of(config), material, engine, style)
            await _drive(config, run, state, steps, metrics, budget, EVERY_KIND[-1:], (), judge)


@contextlib.asynccontextmanager
async def _engine(
    config: GenerationConfig,
    run: RunDirectory,
    model: str,
    start: StartEngine,
    metrics: MetricsWriter,
    budget: BudgetTracker,
) -> AsyncIterator[SupervisedEngine | None]:
    """Start an engine and close it at the end of the block; None if the deadline comes first."""
    novelty.warm_up(config.num_instructions)  # While the engine starts; later it would keep the pipeline waiting.
    console.print(f"starting the engine with model {model!r}")
    supervisor = supervised(
        run,
        start,
        metrics,
        max_restarts=config.max_engine_restarts,
        stall_timeout=config.stall_timeout,
        request_timeout=config.request_timeout,
    )
    if (launched := await _launched(supervisor, budget, config.max_in_flight)) is None:
        yield None
        return
    async with closing(launched):
        yield launched


async def _drive(
    config: GenerationConfig,
    run: RunDirectory,
    state: RunState,
    steps: Steps,
    metrics: MetricsWriter,
    budget: BudgetTracker,
    asks: Collection[RequestKind],
    opening: Iterable[Line],
    judge: StartEngine | None,
) -> None:
    """Commit the opening lines, and then what the engine of the steps answers."""
    with JournalWriter(run.journal, config.fsync_interval) as journal, gc_frozen():

        def commit(line: Line) -> None:
            journal.append(line)
            state.apply(line)

        for line in opening:
            commit(line)
        jsonl.write_text(run.config_path, dump_yaml(config.kept()))
        pipeline = Pipeline(
            steps,
            steps.engine,
            state,
            journal.append,
            budget=budget,
            saturation=config.saturation,
            max_in_flight=budget.max_in_flight,
            asks=asks,
        )
        with GenerationProgress(state, lambda: pipeline.in_flight) as progress:
            metering = asyncio.ensure_future(_meter(metrics, pipeline, progress, budget))
            beside = rating_beside(config, run, state, steps.engine, judge, commit, budget.seconds_left)
            try:
                with stop_rules.commit_interruption(commit, state):
                    async with beside as rate:

                        def on_commit(line: Line) -> None:
                            progress.on_commit(line)
                            rate(line)

                        pipeline.on_commit = on_commit
                        await until_signal(pipeline.run())
            finally:
                metering.cancel()
                await asyncio.gather(metering, return_exceptions=True)


def _steps(method: Method, material: Material, engine: Engine, style: Style) -> Steps:
    seeds, instructions = material.tasks, material.parent_runs.instructions
    return Steps(method, seeds, borrowed_seeds(method.frame), engine, style, instructions, material.evaluation)


async def _calibration(state: RunState, steps: Steps, engine: Engine) -> Mapping[str, Calibration]:
    """Return what the run's header says of its yes-or-no questions; ask the engine before the run begins."""
    if state.begun:
        return state.header.calibration
    async with still("asking about the seeds"):
        calibrations = await until_signal(calibration.calibrate(steps, engine))
    for remark in calibration.remarks(steps, calibrations):
        console.print(remark, markup=False)
    return calibrations


async def _launched(
    supervisor: SupervisedEngine, budget: BudgetTracker, max_in_flight: int | None
) -> SupervisedEngine | None:
    """Start the engine, or return None if the deadline comes first."""
    began = budget.clock()
    try:
        async with asyncio.timeout(budget.seconds_left()) as bound, still("starting the engine"):
            engine = await until_signal(supervisor.launch())
    except TimeoutError:
        if not bound.expired():  # The engine's own timeout: the Hub did not answer, for example.
            raise
        console.print("the deadline came while the engine was still starting")
        return None
    budget.engine_started(budget.clock() - began, most_in_flight(max_in_flight, engine))
    return engine


def _opening_lines(state: RunState, header: Header, lifted: bool) -> Iterator[Line]:
    """Yield the lines that this start adds before the first request; none for a plain continuation.

    Args:
        state: the run.
        header: the one that a new run would get now.
        lifted: whether the stop in force does not hold any more.

    Raises:
        ConfigError: the engine is not the one that began the run.
    """
    if not state.begun:
        yield header
        return
    if state.header.resolved != header.resolved:
        raise ConfigError(
            "the engine differs from the one that began this run:\n"
            + difference(state.header.resolved, header.resolved)
        )
    after = state.proposals - 1
    if header.num_instructions > state.target:
        yield TargetRaised(after, header.num_instructions)
    if lifted:
        yield Resumed(after)


def _anything_to_ask(state: RunState, target: int, lifted: bool) -> bool:
    """Return whether an engine is needed: loading one takes minutes."""
    if not state.begun or state.pending():
        return True
    return len(state.pool) < max(state.target, target) and (state.stopped is None or lifted)


def style_of(prompting: Prompting, model: str, engine: Engine) -> Style:
    """Return how the model is prompted.

    Args:
        prompting: the option.
        model: its name, for the message.
        engine: has the model loaded.

    Raises:
        ConfigError: `chat` is given, and the model has no chat template.
    """
    if prompting == "chat" and not engine.brings_chat_template:
        raise ConfigError(
            f"--prompting chat: the tokenizer of {model!r} has no chat template; use --prompting completion"
        )
    if prompting == "auto":
        return "chat" if engine.has_chat_template else "completion"
    return prompting


def borrowed_seeds(frame: Frame) -> list[SeedTask]:
    """Return packaged tasks in the language of the prompts, for kinds of task that the user's own seeds lack."""
    return list(frame.examples) or list(_packaged_seeds())


@functools.cache
def _packaged_seeds() -> tuple[SeedTask, ...]:
    return tuple(seed_tasks.load_seed_tasks(["seed_tasks"]))


def check_fit(steps: Steps, model: str) -> None:
    """Refuse a model that cannot serve a step.

    Args:
        steps: of the run.
        model: its name, for the message.

    Raises:
        ConfigError: an ordinary prompt does not fit, so that every such request would fail; or the model has not learnt
            the chat template that a proposer needs.
    """
    weight = steps.method.proposers.weights.template
    if weight and steps.style != "chat" and not steps.engine.has_chat_template:
        raise ConfigError(
            f"proposers.template {weight:g} needs a model tuned on conversations, and {model!r} is a base model: "
            "it has learnt no chat template; set --proposers.template 0"
        )
    ordinary = Instruction("p000000-00", steps.seeds[0].instruction, 0)
    answers = steps.separate and steps.method.answer.model is None
    asks: dict[str, Callable[[], Any]] = {
        "proposal": steps.first_requests,
        "classification": lambda: steps.classification_request(ordinary),
        "instances": lambda: steps.instances_request(ordinary, is_classification=False),
        **({"answer": lambda: steps.answer_request(ordinary, 0, "", None)} if answers else {}),
    }
    for kind, ask in asks.items():
        try:
            ask()
        except RequestFailed as failure:
            raise ConfigError(
                f"a prompt cannot fit: {failure.detail}; "
                f"lower --{kind}.max-tokens, or use a model with a longer context"
            ) from failure


def _raise_when_stopped(state: RunState, target: int, finish_by: float | None) -> None:
    """Raise `StoppedError` when generation ended before its target, or before all follow-ups were answered."""
    stop = state.stopped if len(state.pool) < state.target else None
    if stop is not None:
        why = [f"{reason} {n}" for reason, n in state.rejected.most_common(3)]
        why += [f"{kind} requests failed ({reason}) {n}" for (kind, reason), n in state.failures.most_common(2)]
        all_reasons = f"; over the whole run: {', '.join(why) or 'nothing rejected'}"
        raise StoppedError(
            f"{stop_rules.sentence(stop)}{all_reasons if isinstance(stop, Saturated) else ''}. "
            f"{stop_rules.left_over(state, target)}.\nTo continue: {stop_rules.remedy(stop)}"
        )
    if finish_by is not None and (not state.complete or len(state.pool) < target):
        what = stop_rules.left_over(state, target) if state.begun else "Nothing has been generated"
        raise StoppedError(
            f"the deadline, {deadline.clock_text(finish_by)}, has come. {what}.\n"
            "To continue: give the same command with a later deadline, or none"
        )


async def _meter(
    metrics: MetricsWriter, pipeline: Pipeline, progress: GenerationProgress, budget: BudgetTracker
) -> None:
    """Write measurements and, where stderr is no terminal, lines of progress, until it is cancelled."""
    try:
        while True:
            await asyncio.sleep(_METRICS_INTERVAL_S)
            progress.tick()
            metrics.append(**_measured(pipeline, progress, budget))
    finally:
        metrics.append(**_measured(pipeline, progress, budget))


def _measured(pipeline: Pipeline, progress: GenerationProgress, budget: BudgetTracker) -> dict[str, Any]:
    state = pipeline.state
    return {
        "accepted": len(state.pool),
        "candidates": state.candidates().total,
        "proposals": state.proposals,
        "completion_tokens": state.completion_tokens,
        **progress.rates(),
        **budget.measured(),
        **pipeline.traffic.measured(pipeline.in_flight, pipeline.engine.capacity),
    }
