"""`run` against the clock: what a short real training shows, what generation must leave, and what had to be cut.

`schedule.json` keeps it, for the report and for the next start of the same command:

    {"finish_by": Unix seconds, "probe": {"key", ...}, "tuning": null | {"max_steps": n, "key"}, "cut": [sentences]}
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from selfinstruct.clock import SLACK, Clock, Reserve, clock_text
from selfinstruct.config.schema import Config, Tune
from selfinstruct.formats import jsonl, seed_tasks
from selfinstruct.run.directory import RunDirectory, _read

RESERVE_SLACK = 1.3
"""Generation leaves more than that, so that rows longer than the probe's need not be paid for with steps."""


NO_BASELINE = "the baseline on the seeds alone was left out"
PROBE_STEPS = 10
"""Optimiser steps of the probe."""

REPORT_S = 15.0
"""The report, after everything else."""
LEAST_OF_THE_EVALUATION = 0.5
"""An evaluation is begun with this share of the time that it takes at most: models that stop early take less."""

_STAGES_S = 20.0
"""For what is not measured: imports, export, bootstrap, report."""
_ENGINE_START_S = 60.0
"""How long the start of an engine takes, as long as none has been measured."""
_MOST_OF_THE_TIME = 0.6
"""Generation leaves no more than this share: a shorter tuning on something beats a whole one on nothing."""
_LEAST_OF_THE_STEPS = 0.25
"""The evaluation is given up for a tuning that would otherwise get less than this share of its steps."""
_NOT_IN_A_PROBE = tuple("do_ early_stopping eval_ hub_ load_best push_to_hub report_to resume_ save_".split())
"""Openings of the names of arguments that have no say in how fast a step is."""


def probe_options(tune: Tune) -> Tune:
    """The tuning's own options for a few steps, without what is evaluated, kept or sent away on the way."""
    arguments = {name: value for name, value in tune.arguments.items() if not name.startswith(_NOT_IN_A_PROBE)}
    short = {"max_steps": PROBE_STEPS, "eval_strategy": "no", "save_strategy": "no", "report_to": "none"}
    return Tune.model_validate({"model": tune.model, "num_processes": tune.num_processes, **arguments, **short})


def read_probe(record: Path, tune: Tune, dataset: Path) -> Probe:
    """What the probe's `training.json` shows.

    Args:
        record: the file.
        tune: the options of the tuning itself.
        dataset: the folder that the probe was trained on.
    """
    found = json.loads(record.read_bytes())
    runtime, steps = found["runtime"], max(1, found["steps"])
    max_steps = int(tune.arguments.get("max_steps") or -1)
    return Probe(
        seconds_per_step=runtime["train_s"] / steps,
        rows_per_step=max(1e-6, found["rows"]["trained_on"] * found["epochs"] / steps),
        overhead_s=max(0.0, runtime["total_s"] - runtime["train_s"]),
        epochs=float(found["arguments"]["num_train_epochs"]),
        max_steps=max_steps if max_steps > 0 else None,
        characters_per_row=characters_per_row(dataset),
    )


def characters_per_row(dataset: Path) -> float:
    """Mean length of what a training row of an exported dataset holds; 0 without rows."""
    lengths = [
        sum(len(message["content"]) for message in [*row["prompt"], *row["completion"]])
        for _, row in jsonl.read(dataset / "train.jsonl")
    ]
    return sum(lengths) / len(lengths) if lengths else 0.0


class Schedule:
    """A run's way to its deadline.

    Args:
        run: the run directory.
        finish_by: the deadline, in Unix seconds.
        clock: tells the time.
    """

    def __init__(self, run: RunDirectory, finish_by: float, clock: Clock) -> None:
        before = _read(run.schedule)
        self.finish_by = finish_by
        self._tuning: dict[str, Any] = before.get("tuning") or {}
        self.cut: list[str] = []
        self._run = run
        self._clock = clock
        self._probe: dict[str, Any] = before.get("probe") or {}

    @property
    def left(self) -> float:
        """Seconds to the deadline."""
        return self.finish_by - self._clock()

    def probe(self, command: Sequence[str], config: Config) -> Probe | None:
        """What a probe by this command showed, in this or an earlier start; None before there was one."""
        same = self._probe.get("key") == _key(command, config)
        return Probe(**{k: v for k, v in self._probe.items() if k != "key"}) if same else None

    def set_probe(self, command: Sequence[str], config: Config, probe: Probe) -> None:
        """Keep what it showed."""
        self._probe = {"key": _key(command, config), **asdict(probe)}
        self.save()

    def reserve(self, config: Config, probe: Probe) -> Reserve:
        """What generation is to leave, for a whole tuning of whatever it brings, and for its evaluation."""
        steps = probe.max_steps or 0
        baseline = probe.full_steps(_seed_rows(config)) if config.evaluate.seeds_baseline else 0
        trainings = 2 if config.evaluate.seeds_baseline else 1
        seconds = trainings * probe.overhead_s + (steps + baseline) * probe.seconds_per_step
        per_row = 0.0 if probe.max_steps else probe.epochs * probe.seconds_per_step / probe.rows_per_step
        return Reserve(
            seconds=_STAGES_S + RESERVE_SLACK * seconds,
            seconds_per_instance=RESERVE_SLACK * per_row,
            engine_starts=trainings + 1,
            tokens=self._evaluation_tokens(config, trainings + 2),
            most=max(0.0, _MOST_OF_THE_TIME * self.left),
        )

    def fit(self, config: Config, probe: Probe) -> Tuning:
        """The tuning on the exported dataset that there is time for.

        Its evaluation is reckoned with, unless hardly any steps are left beside it: the model comes first.
        """
        rows = sum(1 for _ in jsonl.read(self._run.dataset / "train.jsonl"))
        characters = characters_per_row(self._run.dataset)

        def within(seconds: float, baseline_rows: int = 0) -> Tuning:
            return fit_tuning(
                probe, rows=rows, seconds=seconds, characters_per_row=characters, baseline_rows=baseline_rows
            )

        baseline = config.evaluate.seeds_baseline
        evaluation_s = self.evaluation_s(config, baseline=baseline)
        fitted = within(self.left - evaluation_s, _seed_rows(config) if baseline else 0)
        if fitted.max_steps is not None and baseline:
            fitted = within(self.left - self.evaluation_s(config, baseline=False))
        if fitted.max_steps is not None and fitted.max_steps < _LEAST_OF_THE_STEPS * fitted.full_steps:
            fitted = within(self.left - _STAGES_S)
        return fitted

    def has_time_for_baseline(self, config: Config, probe: Probe) -> bool:
        """Whether the seeds' model, which takes no more steps than the tuned one did, and the evaluation still fit."""
        trained = json.loads((self._run.model / "training.json").read_bytes())["steps"]
        steps = min(probe.full_steps(_seed_rows(config)), trained)
        needed = SLACK * (probe.overhead_s + steps * probe.seconds_per_step)
        return needed + self.evaluation_s(config, baseline=True) <= self.left

    def evaluation_s(self, config: Config, *, baseline: bool) -> float:
        """Seconds that evaluation and report will take, by what was measured while generating."""
        start_s, tokens_per_s = _measured(self._run.metrics)
        models = 3 if baseline else 2
        reserve = Reserve(_STAGES_S, engine_starts=models, tokens=self._evaluation_tokens(config, models + 1))
        return reserve.after(0, start_s, tokens_per_s)

    def steps_before(self, key: Callable[[int], str]) -> int | None:
        """The steps that an earlier start decided on for the very same training, or None.

        Args:
            key: what tells trainings apart, given their steps.
        """
        steps = self._tuning.get("max_steps")
        return steps if steps and self._tuning.get("key") == key(steps) else None

    def cut_tuning(self, steps: int, full_steps: int, key: str) -> None:
        """Note that the tuning gets so many of its steps."""
        self._tuning = {"max_steps": steps, "key": key}
        by = f"to be done by {clock_text(self.finish_by)}"
        self.note(
            f"tuning was given {steps:,} of its {full_steps:,} steps {by}, and a learning-rate schedule of that length"
            if steps
            else f"tuning was left out: not one of its {full_steps:,} steps could be taken {by}"
        )

    def note(self, sentence: str) -> None:
        """Keep what was cut, in a sentence."""
        self.cut.append(sentence)
        self.save()

    def save(self) -> None:
        """Write `schedule.json`."""
        content = {
            "finish_by": self.finish_by,
            "probe": self._probe or None,
            "tuning": self._tuning or None,
            "cut": self.cut,
        }
        jsonl.write_json(self._run.schedule, content)

    def _evaluation_tokens(self, config: Config, arms: int) -> int:
        """Completion tokens of an evaluation, at most; held-out tasks of the run are few beside the files'."""
        questions = sum(
            len({instance.input for instance in task.instances})
            for name in config.evaluate.tasks
            for task in seed_tasks.load_seed_tasks([name])
        )
        return arms * questions * config.evaluate.max_tokens


def _key(command: Sequence[str], config: Config) -> str:
    """What a probe's result holds for: its command (less the folders in it) and the seeds."""
    named = [word for word in command if not word.startswith(("--dataset_dir", "--output_dir"))]
    return hashlib.sha256(repr([named, config.seeds]).encode()).hexdigest()


def _seed_rows(config: Config) -> int:
    """Training rows of the seeds alone."""
    seeds = seed_tasks.load_seed_tasks(config.seeds)
    return sum(len(task.instances) for task in seeds)


def _measured(metrics: Path) -> tuple[float, float]:
    """(seconds to start an engine, completion tokens per second), the last of each that is known."""
    start_s, tokens_per_s = _ENGINE_START_S, 0.0
    for row in _rows(metrics):
        start_s = float(row.get("engine_start_s") or start_s)
        tokens_per_s = float(row.get("tokens_per_s") or tokens_per_s)
    return start_s, tokens_per_s


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    for raw in path.read_bytes().split(b"\n") if path.exists() else ():
        try:
            row = json.loads(raw)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield row


@dataclass(frozen=True)
class Probe:
    """What a short real training showed.

    Attributes:
        seconds_per_step: of training.
        rows_per_step: rows that one optimiser step takes.
        overhead_s: seconds beside the steps: imports, loading, saving.
        epochs: passes over the data that the settings ask for.
        max_steps: the steps that the user's own settings ask for instead, or None.
        characters_per_row: mean length of the rows it ran on.
    """

    seconds_per_step: float
    rows_per_step: float
    overhead_s: float
    epochs: float
    max_steps: int | None
    characters_per_row: float

    def full_steps(self, rows: int) -> int:
        """Steps of a training on so many rows, nothing cut."""
        return self.max_steps or max(1, math.ceil(math.ceil(rows / self.rows_per_step) * self.epochs))

    def step_s(self, characters_per_row: float | None = None) -> float:
        """Seconds of a step on rows of this mean length; shorter rows are not taken to be faster."""
        longer = (characters_per_row or 0.0) / max(self.characters_per_row, 1.0)
        return self.seconds_per_step * max(1.0, longer)


@dataclass(frozen=True)
class Tuning:
    """What there is time for: `max_steps` None is all of it; `baseline` tells whether the seeds' model is trained."""

    max_steps: int | None
    baseline: bool
    full_steps: int


def fit_tuning(
    probe: Probe, *, rows: int, seconds: float, characters_per_row: float | None = None, baseline_rows: int = 0
) -> Tuning:
    """The longest training on `rows` rows that ends within `seconds`, startup and saving included.

    A baseline (on `baseline_rows` rows, 0: none is wanted), which takes no more steps than the model itself, is given
    up before the model's own steps are. `max_steps` 0 means that not even one step fits.
    """
    full, step_s = probe.full_steps(rows), probe.step_s(characters_per_row) * SLACK
    if baseline_rows:
        shared = min(full, probe.full_steps(baseline_rows))
        if 2 * probe.overhead_s * SLACK + (full + shared) * step_s <= seconds:
            return Tuning(None, True, full)
    steps = math.floor((seconds - probe.overhead_s * SLACK) / step_s)
    return Tuning(None if steps >= full else max(0, steps), False, full)
