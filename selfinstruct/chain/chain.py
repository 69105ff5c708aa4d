"""The stages after each other: generate -> export -> tune -> evaluate -> report.

Generation, tuning and evaluation run in processes of their own, so that each finds the GPU as it was before: an engine
gives its memory back for good only when its processes end. A stage that has done its work is not done again: it leaves
a mark with the hash of what it worked from.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape

from selfinstruct import clock as deadline
from selfinstruct.chain import schedule
from selfinstruct.chain.schedule import NO_BASELINE, Probe, Schedule
from selfinstruct.chain.stage_process import DoneMark, run_stage
from selfinstruct.clock import Clock
from selfinstruct.config.load import dump_yaml
from selfinstruct.config.schema import Config, Tune
from selfinstruct.console import closing_table, console, stage
from selfinstruct.dataset import export as exports
from selfinstruct.errors import StoppedError
from selfinstruct.generation import stop_rules
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.journal import read_lines
from selfinstruct.run.state import RunState, replay
from selfinstruct.text import duration


def run_all(config: Config, *, overwrite: bool = False, clock: Clock = time.time) -> None:
    """The whole chain for one configuration; continues where an earlier call stopped.

    Generation that ends before its target (saturated, a limit, an engine that is lost) is followed by the other stages
    all the same, when there are `limits.min_rows` training rows; report and status say why it ended. A signal ends the
    chain.

    Raises:
        SelfInstructError: as the failing stage said; everything before it is kept.
    """
    run = RunDirectory.at(config.output_dir)
    began = clock()
    finish_by = deadline.earliest(config.limits.finish_by, config.limits.time_limit, began)
    plan = None if finish_by is None else Schedule(run, finish_by, clock)
    if plan is None:
        run.schedule.unlink(missing_ok=True)  # What was cut then is not cut now.
    stage("1/5 generate")
    stopped = _generate(config, run, overwrite, plan)
    stage("2/5 export")
    counts = export(config)
    if stopped is not None:
        _require_rows(config, counts, stopped)
    stage("3/5 tune")
    tuned = tune(config, plan)
    stage("4/5 evaluate")
    if tuned:
        _evaluate_in_time(config, plan)
    stage("5/5 report")
    report(run)
    if not tuned:
        raise StoppedError("the deadline left no time for tuning; the same command with a later one, or none, goes on")
    _closing(run, clock() - began, plan)


def export(config: Config) -> dict[str, Any]:
    """Write the dataset, and say what is in it."""
    counts = exports.export(config)
    rows = counts["rows"]
    console.print(
        f"export: {rows['train']} training rows, {rows['validation_seen']} validation_seen, "
        f"{rows['validation_unseen']} validation_unseen"
        + (f"; left out near evaluation tasks: {n}" if (n := sum(counts["instances"]["left_out"].values())) else "")
    )
    return counts


def tune(config: Config, plan: Schedule | None = None, *, overwrite: bool = False) -> bool:
    """Tune on the exported dataset, into `model/`; and on the seeds alone, when the evaluation wants that baseline.

    Args:
        config: the configuration.
        plan: the way to a deadline, which may shorten the training and leave out the baseline.
        overwrite: make anew whatever models are there.

    Returns:
        Whether there is a tuned model: False when the deadline leaves no time for a single step.
    """
    from tuning.training.launch import tune_command

    run = RunDirectory.at(config.output_dir)
    exports.require_dataset(run)
    model = config.tune.model or config.model

    def command_of(dataset: Path, output: Path, options: Tune) -> tuple[list[str], DoneMark]:
        tasks = config.evaluate.tasks
        command = tune_command(options, model=model, dataset_dir=dataset, output_dir=output, eval_tasks=tasks)
        return command, DoneMark(output, sorted(dataset.glob("*.jsonl")), [model, *command[1:]])

    def tune_on(dataset: Path, output: Path, options: Tune) -> None:
        command, done = command_of(dataset, output, options)
        if done.is_set() and not overwrite:
            console.print(f"tune: {output} is up to date")
            return
        run_stage([*command, "--overwrite"] if overwrite else command, "tune")
        done.set()

    options, baseline = config.tune, config.evaluate.seeds_baseline
    if plan is not None and not command_of(run.dataset, run.model, options)[1].is_set():
        probe = _probe(config, run, plan)
        fitted = _tuning_in_time(config, run, plan, probe, lambda tune: command_of(run.dataset, run.model, tune)[1])
        if fitted is None:
            return False
        options, baseline = fitted
    tune_on(run.dataset, run.model, options)
    if baseline and plan is not None and not plan.has_time_for_baseline(config, _probe(config, run, plan)):
        plan.note(NO_BASELINE)
        baseline = False
    if baseline:
        rows = exports.export_seeds(config, run.seeds_dataset)
        for split in exports.SPLITS[1:]:  # so that both keep their best checkpoint by the same rows
            if (run.dataset / f"{split}.jsonl").exists():
                shutil.copyfile(run.dataset / f"{split}.jsonl", run.seeds_dataset / f"{split}.jsonl")
        console.print(f"tune: now the baseline, on the {rows} rows of the seeds alone")
        tune_on(run.seeds_dataset, run.seeds_model, _no_longer(options, rows, run.model / "training.json"))
    return True


def _tuning_in_time(
    config: Config, run: RunDirectory, plan: Schedule, probe: Probe, mark: Callable[[Tune], DoneMark]
) -> tuple[Tune, bool] | None:
    """The options of a tuning that ends in time, and whether the baseline does; None: there is time for neither.

    Steps that an earlier start of the same command decided on stay, where they still fit: else what has been trained of
    them would be lost.
    """
    from tuning.training import checkpoints

    def with_steps(steps: int) -> Tune:
        return _with_steps(config.tune, steps)

    fitted = plan.fit(config, probe)
    steps = fitted.max_steps
    before = plan.steps_before(lambda n: mark(with_steps(n)).key)
    if steps is not None and before is not None:
        checkpoint = checkpoints.last_complete(run.model / checkpoints.FOLDER)
        done = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
        if before - done <= steps or (mark(with_steps(before)).is_set() and steps <= before):
            steps = before
    if config.evaluate.seeds_baseline and not fitted.baseline:
        plan.note(NO_BASELINE)
    if steps is None:
        return config.tune, fitted.baseline
    plan.cut_tuning(steps, fitted.full_steps, mark(with_steps(steps)).key)
    console.print(f"tune: {plan.cut[-1]}")
    return (with_steps(steps), fitted.baseline) if steps else None


def _with_steps(tune: Tune, steps: int) -> Tune:
    return tune.model_copy(update={"max_steps": steps})


def _no_longer(tune: Tune, rows: int, record: Path) -> Tune:
    """The options of a tuning on `rows` rows that takes at most the steps of the one that `record` tells of.

    Without this the arm with more rows would be trained longer, and the comparison would be about that.
    """
    trained = json.loads(record.read_text())
    if rows <= trained["rows"]["trained_on"]:
        return tune
    return _with_steps(tune, trained["steps"])


def evaluate(
    config: Config, models: Sequence[str] = (), *, score_only: bool = False, seconds: float | None = None
) -> None:
    """Score the base and the tuned model, into `evaluation/`.

    Args:
        config: the configuration.
        models: further models, as NAME=PATH.
        score_only: score what is saved there again; no engine starts.
        seconds: how long it may take.

    Raises:
        TimeoutError: it took longer, and was ended.
    """
    run = RunDirectory.at(config.output_dir)
    command = [sys.executable, "-m", "tuning.evaluate", "--run-dir", str(run.path)]
    for model in models:
        command += ["--model", model]
    if score_only:
        command.append("--score-only")
    run_stage(command, "evaluate", seconds=seconds)
    scores = run.evaluation / "scores.json"
    if (run.model / "training.json").exists() and "tuned" in json.loads(scores.read_text())["arms"]:
        from tuning.training import card

        card.write(run.model, scores)


def report(run: RunDirectory) -> Path:
    """Write `report.html`."""
    from selfinstruct.report import write_report

    path = write_report(run.path)
    console.print(f"report: {path}")
    return path


def generate(config: Config) -> None:
    """Grow the run of the configuration to its target, in a process of its own."""
    _run_generate(config, overwrite=False)


def regenerate(source: Path, config: Config) -> None:
    """Write the outputs of the run in `source` anew, into the run of the configuration, in a process of its own."""
    command = [sys.executable, "-m", "selfinstruct", "regenerate", str(source), "--as-stage", "--config", "-"]
    run_stage([*command, "--output-dir", str(config.output_dir)], "regenerate", standard_input=dump_yaml(config))


def _generate(config: Config, run: RunDirectory, overwrite: bool, plan: Schedule | None) -> StoppedError | None:
    """Generate; returns why it ended before its target, or None. Before a deadline, tuning is probed first."""
    options: list[str] = []
    if plan is not None:
        if plan.left <= 0:
            when = deadline.clock_text(plan.finish_by)
            raise StoppedError(f"the deadline, {when}, has come; give the same command with a later one, or none")
        limits = config.limits.model_copy(update={"finish_by": deadline.iso(plan.finish_by), "time_limit": None})
        config = config.model_copy(update={"limits": limits})
        probe = _probe(config, run, plan)
        reserve = plan.reserve(config, probe)
        options = ["--reserve", reserve.to_json()]
        console.print(
            f"deadline {deadline.clock_text(plan.finish_by)}, in {duration(plan.left)}: tuning takes "
            f"{probe.seconds_per_step:.2g} s per step and {duration(probe.overhead_s)} beside; generation leaves "
            f"{duration(reserve.after(0, 0))} or more to it and to the evaluation"
        )
    try:
        _run_generate(config, overwrite, options)
    except StoppedError as error:
        if not run.journal.exists():
            raise
        if not stop_rules.reason(run, replay(read_lines(run.journal, live=True))):
            stop_rules.record(run, str(error))  # Its process was killed: it could not say so itself.
        return error
    finally:
        if plan is not None and run.journal.exists():
            plan.save()
    return None


def _probe(config: Config, run: RunDirectory, plan: Schedule) -> Probe:
    """How fast tuning is here: a few real steps on the seeds, before an engine takes the GPU. Done once for a run.

    Raises:
        SelfInstructError: they fail; so would the tuning itself, in the small hours.
    """
    from tuning.training.launch import tune_command

    folder = run.path / ".probe"
    dataset, output = folder / "dataset", folder / "model"
    command = tune_command(
        schedule.probe_options(config.tune),
        model=config.tune.model or config.model,
        dataset_dir=dataset,
        output_dir=output,
    )
    found = plan.probe(command, config)
    if found is not None:
        return found
    console.print(f"tune: probing its speed, {schedule.PROBE_STEPS} steps on the seeds")
    with run.locked():  # Nobody else uses the folder.
        try:
            shutil.rmtree(folder, ignore_errors=True)
            exports.export_seeds(config, dataset)
            run_stage(command, "the probe of tuning")
            found = schedule.read_probe(output / "training.json", config.tune, dataset)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    plan.set_probe(command, config, found)
    return found


def _require_rows(config: Config, counts: dict[str, Any], stopped: StoppedError) -> None:
    """Raise `StoppedError` unless generation, which stopped early, left rows enough to tune on."""
    rows = counts["rows"]["train"] - counts["origins"].get("seed", 0)
    if rows < config.limits.min_rows:
        raise StoppedError(
            f"{stopped}\nThere are {rows} training rows, fewer than --limits.min-rows {config.limits.min_rows}: "
            "not enough to go on to tuning"
        )
    console.print(f"generation stopped early; going on with its {rows} training rows")


def _evaluate_in_time(config: Config, plan: Schedule | None) -> None:
    """Evaluate; what is reckoned to take too long is begun all the same when it may well fit, and ends in time."""
    if plan is None:
        return evaluate(config)
    baseline = (RunDirectory.at(config.output_dir).seeds_model / "training.json").exists()
    needed, left = plan.evaluation_s(config, baseline=baseline), plan.left - schedule.REPORT_S
    if left < schedule.LEAST_OF_THE_EVALUATION * needed:
        plan.note(f"the evaluation was left out: it takes about {duration(needed)}, {duration(plan.left)} were left")
        console.print(plan.cut[-1])
        return None
    try:
        evaluate(config, seconds=left)
    except TimeoutError:
        plan.note(
            "the evaluation was ended by the deadline; the arms that had answered are kept, and the same command with "
            "a later deadline finishes it"
        )
        console.print(plan.cut[-1])
    return None


def _run_generate(config: Config, overwrite: bool, options: Sequence[str] = ()) -> None:
    run = RunDirectory.at(config.output_dir)
    if not overwrite and run.journal.exists():
        state = replay(read_lines(run.journal, live=True))
        console.print(
            f"continuing {run.path}: {len(state.pool)}/{max(state.target, config.num_instructions)} accepted so far"
        )
    command = [sys.executable, "-m", "selfinstruct", "generate", "--as-stage", "--config", "-"]
    command += [*options, *(["--overwrite"] if overwrite else [])]
    run_stage(command, "generate", standard_input=dump_yaml(config))


def _closing(run: RunDirectory, seconds: float, plan: Schedule | None) -> None:
    state: RunState = replay(read_lines(run.journal))
    why = escape(stop_rules.reason(run, state))
    scores = run.evaluation / "scores.json"
    rows: list[tuple[str, Any]] = [
        *([("stopped early", why)] if why else []),
        *(("cut", sentence) for sentence in (plan.cut if plan else ())),
        ("accepted", f"{len(state.pool)} instructions, {state.num_instances} instances"),
        ("dataset", run.dataset),
        ("model", run.model),
        *([("scores", scores)] if scores.exists() else []),
        ("report", run.report),
        ("time", duration(seconds)),
    ]
    alone = (run.model / "adapter_config.json").exists()  # its card says how it is served
    following = f"selfinstruct chat {run.path}" if alone else f"vllm serve {run.model}"
    title = f"{run.path} is complete" + (", as far as it got" if why else "")
    closing_table(title, rows, following)
