"""The stages one after the other: generate (-> rate -> tag -> choose) -> regenerate -> export -> tune -> ... -> report.

Generation, regeneration, tuning and evaluation run in processes of their own: an engine gives the GPU's memory back for
good only when its processes end. A tuning that is done leaves a mark with the hash of its inputs, and is not repeated.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from selfinstruct import clock as deadline
from selfinstruct.chain import asking, tuning_time
from selfinstruct.chain.fetch import fetch_models
from selfinstruct.chain.schedule import LEAST_OF_THE_EVALUATION, NO_BASELINE, REPORT_S, DeadlinePlan
from selfinstruct.chain.shortened_tuning import tuning_in_time, with_steps
from selfinstruct.chain.stage_process import DoneMark, run_stage
from selfinstruct.chain.summary import show_summary
from selfinstruct.clock import Clock
from selfinstruct.config.later_stages import Evaluate, Tune
from selfinstruct.config.load import dump_yaml
from selfinstruct.config.schema import TUNED_MODEL, Config
from selfinstruct.console import console, result, stage
from selfinstruct.dataset import export as exports
from selfinstruct.engines.models import fetch_model
from selfinstruct.errors import ConfigError, SelfInstructError, StoppedError
from selfinstruct.formats import jsonl
from selfinstruct.generation import stop_rules
from selfinstruct.generation.generate import warn_of_slow_start
from selfinstruct.records import SEEN, SPLITS, TRAIN, UNSEEN
from selfinstruct.report.page import write_report
from selfinstruct.run import ownership, trackers
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.export_counts import ExportCounts
from selfinstruct.run.folders import DatasetDirectory, ModelDirectory
from selfinstruct.run.scores import TUNED
from selfinstruct.run.training_record import TrainingRecord
from selfinstruct.signals import changing_nothing
from selfinstruct.text import duration
from tuning.training.launch import tune_command, tuned_from

_PROGRAM = [sys.executable, "-m", "selfinstruct"]


def run_all(config: Config, *, overwrite: bool = False, clock: Clock = time.time) -> None:
    """Run the whole chain for one configuration; continue where an earlier call stopped.

    With `regenerate.model`, generation goes into RUN-generated, and that model's outputs into RUN. When generation
    ends before its target (saturated, a limit, an engine that is lost), the other stages still run if there are
    `limits.min_rows` training rows; report and status say why it ended. When tuning fails, the base is evaluated and
    the report written before the error is raised. A signal ends the chain.

    Args:
        config: the configuration.
        overwrite: discard the run that is there.
        clock: returns the time.

    Raises:
        SelfInstructError: as the failing stage said; everything before it is kept.
    """
    config = config.anchored()
    run = check_settings(config, overwrite=overwrite)
    with run.locked():
        _run_stages(config, run, overwrite, clock)


def _run_stages(config: Config, run: RunDirectory, overwrite: bool, clock: Clock) -> None:
    regenerates = config.regenerate.model is not None
    asked, chooses = asking.asks(config), asking.chooses(config)
    between = [*asked, *(["choose"] if chooses else []), *(["regenerate"] if regenerates else [])]
    names = ["generate", *between, "export", "tune", "evaluate", "report"]
    titles = iter([f"{number}/{len(names)} {name}" for number, name in enumerate(names, 1)])
    began = clock()
    fetch_models(config, run)
    stage(next(titles))
    plan = _plan(config, run, clock)
    generated = run.generated if regenerates or chooses else run
    stopped = _generate(asking.undecided(config, generated), overwrite, plan)
    for name in asked:
        stage(next(titles))
        asking.ask(name, config, generated, plan)
    if chooses:
        stage(next(titles))
        asking.choose(config, generated, run)
    if regenerates:
        stage(next(titles))
        if stopped is not None:
            _require_regenerable(generated, stopped)
        regenerate(generated.path, config, overwrite=overwrite)
    stage(next(titles))
    try:
        counts = export(config)
    except exports.NothingToTrainOnError as error:
        raise (StoppedError(f"{stopped}\n{error}") if stopped else error) from error
    if stopped is not None:
        _require_rows(counts, config.limits.min_rows, stopped)
    stage(next(titles))
    try:
        tuned = tune(config, plan)
    except SelfInstructError as error:
        rest = [partial(stage, next(titles)), partial(_evaluate_in_time, run, plan)]
        after_failed_tuning(run, error, [*rest, partial(stage, next(titles)), partial(report, run)])
        raise
    stage(next(titles))
    if tuned:
        _evaluate_in_time(run, plan)
    stage(next(titles))
    report(run)
    if not tuned:
        raise StoppedError("the deadline left no time for tuning; the same command with a later one, or none, goes on")
    show_summary(run, clock() - began, plan.cut if plan else [])


def check_settings(config: Config, *, overwrite: bool = False) -> RunDirectory:
    """Return the run's directory, once it is certain that `run_all` can run with these settings.

    Raises:
        ConfigError: no directory is given, a run would write over what is no run's, or over what the new run reads, or
            `regenerate.model` does not fit the other settings or the run that is there.
    """
    run = RunDirectory.at(config.output_dir)
    for directory in [run, *([run.generated] if config.regenerate.model is not None or asking.chooses(config) else [])]:
        if overwrite:
            ownership.require_overwritable(directory, config.inputs())
        elif not directory.journal.exists():
            ownership.require_free(directory)
    if config.regenerate.model is None:
        if not overwrite:
            asking.require_own(config, run)
        return run
    if asking.chooses(config):
        raise ConfigError(
            "regenerate.model: `run` cannot both choose by scores and rewrite outputs; leave out `scores` and "
            "`answer.keep: best`, or rewrite later with `selfinstruct regenerate`"
        )
    if config.regenerate.model == TUNED_MODEL:
        raise ConfigError(
            f"regenerate.model: `{TUNED_MODEL}` is the model of the round before, and `run` makes one round alone; "
            "name a model, or use `selfinstruct iterate`"
        )
    if config.limits.finish_by is not None or config.limits.time_limit is not None:
        raise ConfigError(
            "regenerate.model: a run with a deadline cannot plan the time to rewrite outputs; leave out "
            "--finish-by and --time-limit, or rewrite the outputs later with `selfinstruct regenerate`"
        )
    if run.journal.exists() and not overwrite:
        state = run.state(live=True)
        if state.begun and not state.header.regenerates:
            raise ConfigError(
                f"{run.path} holds a run without regenerate.model; leave that option out to continue the run, or give "
                "another --output-dir, or --overwrite to start again from scratch"
            )
        stop = state.stopped if len(state.pool) < state.target else None
        lifted = stop is not None and stop_rules.is_lifted(stop, config.limits, config.saturation, None)
        if config.num_instructions > state.target or lifted:
            raise ConfigError(
                f"{run.path}: the outputs of its {len(state.pool):,} instructions are rewritten already, and no more "
                "instructions can be added; give another --output-dir, or --overwrite to start again from scratch"
            )
    return run


# ------------------------------------------------------------------------------------------------ the stages


def generate(config: Config, options: Sequence[str] = ()) -> None:
    """Grow the configuration's run to its target, in a process of its own.

    Args:
        config: the configuration.
        options: further options of the command.

    Raises:
        StoppedError: it stopped before its target.
        SelfInstructError: it failed.
    """
    command = [*_PROGRAM, "generate", "--as-stage", "--config", "-", *options]
    run_stage(
        command,
        "generate",
        standard_input=dump_yaml(config, given_only=True),
        log=RunDirectory.at(config.output_dir).library_log,
    )


def regenerate(source: Path, config: Config, *, overwrite: bool = False) -> None:
    """Rewrite the outputs of a run by `regenerate.model`, in a process of its own.

    Args:
        source: directory of the run.
        config: the configuration of the new run.
        overwrite: discard the new run that is there.

    Raises:
        SelfInstructError: it failed or stopped.
    """
    command = [*_PROGRAM, "regenerate", str(source), "--as-stage", "--config", "-"]
    command += ["--output-dir", str(config.output_dir), *_overwrite(overwrite)]
    run_stage(
        command,
        "regenerate",
        standard_input=dump_yaml(config, given_only=True),
        log=RunDirectory.at(config.output_dir).library_log,
    )


def export(config: Config) -> ExportCounts:
    """Write the dataset, and say what is in it."""
    counts = exports.export(config)
    rows = counts.rows
    left_out = [f"{n:,} {reason.replace('_', ' ')}" for reason, n in counts.instances.left_out.items()]
    console.print(
        f"export: {rows[TRAIN]} training rows, {rows[SEEN]} {SEEN}, "
        f"{rows[UNSEEN]} {UNSEEN}" + (f"; left out: {', '.join(left_out)}" if left_out else "")
    )
    return counts


def tune(config: Config, plan: DeadlinePlan | None = None, *, overwrite: bool = False) -> bool:
    """Tune on the exported dataset, into `model/`; with `evaluate.seeds_baseline` also on the seeds alone.

    Args:
        config: the configuration.
        plan: of a run with a deadline; it may shorten the training and leave out the baseline.
        overwrite: tune again what is tuned already.

    Returns:
        Whether there is a tuned model: False when the deadline leaves no time for a single step.
    """
    run = RunDirectory.at(config.output_dir)
    exports.require_dataset(run)
    trackers.group_stages(run)
    model, revision = tuned_from(config.tune, config.model, config.revision)

    def command_of(dataset: DatasetDirectory, output: ModelDirectory, options: Tune) -> tuple[list[str], DoneMark]:
        places: dict[str, Any] = {"dataset_dir": dataset.path, "output_dir": output.path}
        evaluated = config.evaluate
        hold_out = (evaluated.held_out_by, evaluated.held_out_share) if evaluated.held_out_by else None
        places |= {"eval_tasks": evaluated.tasks, "hold_out": hold_out}
        command = tune_command(options, model=model, revision=revision, **places)
        return command, DoneMark(output, sorted(dataset.path.glob("*.jsonl")), [model, *command[1:]])

    def tune_on(dataset: DatasetDirectory, output: ModelDirectory, options: Tune) -> None:
        command, done = command_of(dataset, output, options)
        output.failed.unlink(missing_ok=True)
        if done.is_set() and not overwrite:
            console.print(f"tune: {output.path} is up to date")
            return
        try:
            fetch_model(model, revision)
            shown = trackers.training_arguments(config.report_to, output.path, options.arguments)
            run_stage([*command, *_overwrite(overwrite), *shown], "tune", log=run.library_log)
        except SelfInstructError as error:
            if not output.done.exists():  # Otherwise no training began: the model is that of the last one that ended.
                output.path.mkdir(parents=True, exist_ok=True)
                jsonl.write_text(output.failed, str(error))
            raise
        done.set()

    options, baseline = config.tune, config.evaluate.seeds_baseline
    if plan is not None and not command_of(run.dataset, run.model, options)[1].is_set():
        fitted = tuning_in_time(
            options, run.model, plan, baseline, lambda tune: command_of(run.dataset, run.model, tune)[1]
        )
        if fitted is None:
            return False
        options, baseline = fitted
    tune_on(run.dataset, run.model, options)
    if baseline and plan is not None and not plan.has_time_for_baseline(run.model.training_record().steps):
        plan.note(NO_BASELINE)
        baseline = False
    if baseline:
        rows = exports.export_seeds(config.seeds, run.seeds_dataset)
        for split in SPLITS[1:]:  # Both keep their best checkpoint by the same rows.
            if run.dataset.split(split).exists():
                shutil.copyfile(run.dataset.split(split), run.seeds_dataset.split(split))
        console.print(f"tune: now the baseline, on the {rows} rows of the seeds alone")
        tune_on(run.seeds_dataset, run.seeds_model, _limit_steps(options, rows, run.model.training_record()))
    return True


def evaluate(
    run: RunDirectory, models: Sequence[str] = (), *, settings: str | None = None, seconds: float | None = None
) -> None:
    """Score the base and the tuned model, into `evaluation/`, in a process of its own.

    Args:
        run: the run directory.
        models: further models, as NAME=PATH.
        settings: the YAML text of the configuration; default: the run's own.
        seconds: how long it may take.

    Raises:
        TimeoutError: it took longer and was ended.
        SelfInstructError: it failed or stopped.
    """
    command = [sys.executable, "-m", "tuning.evaluate", "--run-dir", str(run.path)]
    for model in models:
        command += ["--model", model]
    if settings is not None:
        command += ["--config", "-"]
    run_stage(command, "evaluate", standard_input=settings, seconds=seconds, log=run.library_log)
    if run.config_path.exists():
        trackers.show_scores(run.config().report_to, run)
    _write_card(run)


def score_saved(run: RunDirectory, options: Evaluate, seed: int) -> None:
    """Score the saved answers again, in this process: no engine starts.

    Args:
        run: the run directory.
        options: the section `evaluate`.
        seed: of the bootstrap.

    Raises:
        InputError: there are no answers, or a file is damaged.
    """
    from tuning.evaluation import evaluation
    from tuning.evaluation.score_tables import show_scores

    with changing_nothing():
        show_scores(evaluation.score_saved(run, options, seed))
    _write_card(run)


def _write_card(run: RunDirectory) -> None:
    """Write the model card of a tuned model that has scores."""
    if run.model.record_path.exists() and TUNED in run.evaluation.scores().arms:
        from tuning.training import model_card

        model_card.write(run.model, run.evaluation)


def report(run: RunDirectory, gpu_price: float | None = None) -> Path:
    """Write `report.html`, with what rows cost where a price of the GPUs per hour is given."""
    run.require_journal()
    with run.locked():
        path = write_report(run.path, gpu_price)
    with result():
        console.print(f"report: {path}")
    return path


def after_failed_tuning(run: RunDirectory, error: Exception, rest: Sequence[Callable[[], Any]]) -> None:
    """Do what can be done without a tuned model; what fails as well is only printed.

    Args:
        run: the run directory.
        error: why there is none.
        rest: the work: the base is evaluated alone, and the report begins with the failure.
    """
    console.print(str(error), markup=False)
    console.print(f"The dataset in {run.dataset.path} is complete. The base model is evaluated without a tuned one")
    for work in rest:
        try:
            work()
        except SelfInstructError as failure:
            console.print(str(failure), markup=False)


def _overwrite(wanted: bool) -> list[str]:
    return ["--overwrite"] if wanted else []


# ---------------------------------------------------------------------------------------- within the whole chain


def _plan(config: Config, run: RunDirectory, clock: Clock) -> DeadlinePlan | None:
    """Return the plan of a run with a deadline, once the speed of tuning is measured; None without a deadline.

    The speed is measured by a few real steps on the seeds, before an engine takes the GPU.

    Raises:
        StoppedError: the deadline has passed.
        SelfInstructError: the steps fail; the tuning itself would fail as well, only hours later.
    """
    finish_by = deadline.earliest(config.limits.finish_by, config.limits.time_limit, clock())
    if finish_by is None:
        run.schedule.unlink(missing_ok=True)  # What was cut before is not cut now.
        return None
    plan = DeadlinePlan(run, finish_by, clock, seeds=config.seeds, evaluate=config.evaluate)
    if plan.left <= 0:
        when = deadline.clock_text(finish_by)
        raise StoppedError(f"the deadline, {when}, has passed; give the same command with a later one, or none")
    warn_of_slow_start(run, plan.left)
    command = tune_command(
        tuning_time.probe_options(config.tune),
        model=config.model,
        revision=config.revision,
        dataset_dir=run.probe_dataset.path,
        output_dir=run.probe_model.path,
    )

    def measure() -> tuning_time.Probe:
        console.print(f"tune: measuring its speed, {tuning_time.PROBE_STEPS} steps on the seeds")
        try:
            shutil.rmtree(run.probe, ignore_errors=True)
            exports.export_seeds(config.seeds, run.probe_dataset)
            run_stage(command, "the probe of tuning")
            return tuning_time.read_probe(run.probe_model, config.tune, run.probe_dataset)
        finally:
            shutil.rmtree(run.probe, ignore_errors=True)

    plan.measure_once(command, measure)
    return plan


def _generate(config: Config, overwrite: bool, plan: DeadlinePlan | None) -> StoppedError | None:
    """Generate; return why it ended before its target, or None."""
    run = RunDirectory.at(config.output_dir)
    options = _overwrite(overwrite)
    if plan is not None:
        limits = config.limits.model_copy(update={"finish_by": deadline.iso(plan.finish_by), "time_limit": None})
        config = config.model_copy(update={"limits": limits})
        reserve = plan.reserve(engines_before=len(asking.asks(config)))
        options = ["--reserve", reserve.to_json(), *options]
        console.print(
            f"deadline {deadline.clock_text(plan.finish_by)}, in {duration(plan.left)}: tuning takes "
            f"{plan.probe.seconds_per_step:.2g} s per step, and {duration(plan.probe.overhead_s)} for startup and "
            f"saving; generation leaves at least {duration(reserve.after(0, 0))} for tuning and evaluation"
        )
    if not overwrite and run.journal.exists():
        state = run.state(live=True)
        target = max(state.target, config.num_instructions)
        console.print(f"continuing {run.path}: {len(state.pool)}/{target} accepted so far")
    before = run.journal_stamp()
    try:
        generate(config, options)
    except StoppedError as error:
        if not run.journal.exists() or (overwrite and run.journal_stamp() == before):
            raise  # The new run has not begun; the one that is there is another.
        if not stop_rules.reason(run, run.state(live=True)):
            stop_rules.record(run, str(error))  # Its process was killed: it could not say so itself.
        return error
    finally:
        if plan is not None and run.journal.exists():
            plan.save()
    return None


def _require_regenerable(generated: RunDirectory, stopped: StoppedError) -> None:
    """Raise the stop of a generation that left instructions without instances, or may still go on."""
    state = generated.state()
    if state.pending() or (state.stopped is None and len(state.pool) < state.target):
        raise stopped


def _require_rows(counts: ExportCounts, min_rows: int, stopped: StoppedError) -> None:
    """Say why generation stopped early; raise `StoppedError` unless it left enough rows to tune on."""
    rows = counts.rows[TRAIN] - counts.origins.get("seed", 0)
    if rows < min_rows:
        raise StoppedError(
            f"{stopped}\nThere are {rows} training rows, fewer than --limits.min-rows {min_rows}: "
            "not enough to go on to tuning"
        )
    console.print(str(stopped), markup=False)
    console.print(f"generation stopped early; going on with its {rows} training rows")


def _limit_steps(tune: Tune, rows: int, trained: TrainingRecord) -> Tune:
    """Return the options of a baseline on this many rows that takes at most the steps of the tuned model.

    Otherwise the model with more rows would be trained longer, and the comparison would measure that.
    """
    return tune if rows <= trained.rows.trained_on else with_steps(tune, trained.steps)


def _evaluate_in_time(run: RunDirectory, plan: DeadlinePlan | None) -> None:
    """Evaluate; with a deadline, start only what may fit, and end it in time."""
    if plan is None:
        return evaluate(run)
    baseline = run.seeds_model.record_path.exists()
    needed, left = plan.evaluation_s(baseline=baseline), plan.left - REPORT_S
    if left < LEAST_OF_THE_EVALUATION * needed:
        plan.note(f"the evaluation was left out: it takes about {duration(needed)}, {duration(plan.left)} were left")
        console.print(plan.cut[-1])
        return None
    try:
        evaluate(run, seconds=left)
    except TimeoutError:
        plan.note(
            "the evaluation was ended by the deadline; the arms that had answered are kept, and the same command with "
            "a later deadline finishes it"
        )
        console.print(plan.cut[-1])
    return None
