"""`run` with a deadline: the time that each stage may take, and what had to be cut.

`schedule.json` keeps it (`Schedule`), for the report and for the next start of the same command.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from selfinstruct.chain.tuning_time import FittedTuning, Probe, characters_per_row, fit_tuning
from selfinstruct.clock import SAFETY_FACTOR, Clock, Reserve, clock_text
from selfinstruct.config.later_stages import Evaluate
from selfinstruct.formats import jsonl, seed_tasks
from selfinstruct.records import TRAIN
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.measurements import last_speed
from tuning.evaluation.inputs import most_tokens

RESERVE_FACTOR = 1.3
"""Safety factor on the time that generation leaves for tuning: rows longer than the probe's cost no steps."""

NO_BASELINE = "the baseline on the seeds alone was left out"

REPORT_S = 15.0
"""Seconds for the report, after everything else."""
LEAST_OF_THE_EVALUATION = 0.5
"""An evaluation starts when there is this share of its estimated time: models that stop early take less."""

_OTHER_S = 20.0
"""Seconds for what is not measured: imports, export, bootstrap, report."""
_ENGINE_START_S = 60.0
"""Seconds to start an engine, as long as no start has been measured."""
_MOST_OF_THE_TIME = 0.6
"""Generation leaves at most this share of the time: a short tuning on some rows is better than a full one on none."""
_LEAST_OF_THE_STEPS = 0.25
"""The evaluation is given up for a tuning that would otherwise get less than this share of its steps."""


class StoredProbe(Probe, frozen=True, kw_only=True):
    """A probe in `schedule.json`.

    Attributes:
        key: hash of the command and the seeds that it holds for.
    """

    key: str


class ChosenSteps(Struct, frozen=True, kw_only=True):
    """The steps of a shortened tuning.

    Attributes:
        max_steps: the steps.
        key: hash of the tuning that they hold for, as in `DoneMark`.
    """

    max_steps: int
    key: str


class Schedule(Struct, kw_only=True):
    """`schedule.json`.

    Attributes:
        finish_by: the deadline, in Unix seconds.
        probe: how fast tuning is here; None before it was measured.
        tuning: the steps of a shortened tuning; None for a whole one.
        cut: what was left out or shortened, a sentence each.
    """

    finish_by: float
    probe: StoredProbe | None = None
    tuning: ChosenSteps | None = None
    cut: list[str] = []


class DeadlinePlan:
    """Divides the time up to a run's deadline among the stages.

    Args:
        run: the run directory.
        finish_by: the deadline, in Unix seconds.
        clock: returns the time.
        seeds: seed files of the run.
        evaluate: options of the evaluation.
    """

    def __init__(
        self, run: RunDirectory, finish_by: float, clock: Clock, *, seeds: Sequence[str], evaluate: Evaluate
    ) -> None:
        before = _read(run.schedule) or Schedule(finish_by=finish_by)
        self.schedule = Schedule(finish_by=finish_by, probe=before.probe, tuning=before.tuning, cut=[])
        self.finish_by = finish_by
        self._run = run
        self._clock = clock
        self._seeds = tuple(seeds)
        self._evaluate = evaluate

    @property
    def left(self) -> float:
        """Seconds to the deadline."""
        return self.finish_by - self._clock()

    @property
    def cut(self) -> list[str]:
        """What was left out or shortened, a sentence each."""
        return self.schedule.cut

    @property
    def probe(self) -> Probe:
        """How fast tuning is here, as `measure_once` measured it."""
        if self.schedule.probe is None:
            raise RuntimeError("tuning has not been probed yet")
        return self.schedule.probe

    def measure_once(self, command: Sequence[str], measure: Callable[[], Probe]) -> None:
        """Find out how fast tuning is, unless an earlier start has done so with the same command and seeds.

        Args:
            command: of the probe.
            measure: runs it.
        """
        key = _probe_key(command, self._seeds)
        if self.schedule.probe is None or self.schedule.probe.key != key:
            self.schedule.probe = StoredProbe(key=key, **msgspec.structs.asdict(measure()))
            self.save()

    def reserve(self, engines_before: int = 0) -> Reserve:
        """Return the time that generation leaves for a whole tuning and for its evaluation.

        Args:
            engines_before: engines that are started between generation and export.
        """
        probe, evaluate = self.probe, self._evaluate
        baseline_steps = probe.full_steps(_num_rows(self._seeds)) if evaluate.seeds_baseline else 0
        trainings = 2 if evaluate.seeds_baseline else 1
        steps = (probe.max_steps or 0) + baseline_steps
        seconds = trainings * probe.overhead_s + steps * probe.seconds_per_step
        per_row = 0.0 if probe.max_steps else probe.epochs * probe.seconds_per_step / probe.rows_per_step
        return Reserve(
            seconds=_OTHER_S + RESERVE_FACTOR * seconds,
            seconds_per_instance=RESERVE_FACTOR * per_row,
            engine_starts=trainings + 1 + engines_before,
            tokens=(trainings + 2) * self._tokens_of_an_arm,
            most=max(0.0, _MOST_OF_THE_TIME * self.left),
        )

    def fit(self) -> FittedTuning:
        """Return the tuning on the exported dataset that there is time for.

        Time for its evaluation is set aside, unless that leaves hardly any steps: the model comes first.
        """
        rows = sum(1 for _ in jsonl.read(self._run.dataset.split(TRAIN)))
        characters = characters_per_row(self._run.dataset)

        def within(seconds: float, baseline_rows: int = 0) -> FittedTuning:
            return fit_tuning(
                self.probe, rows=rows, seconds=seconds, characters_per_row=characters, baseline_rows=baseline_rows
            )

        baseline = self._evaluate.seeds_baseline
        fitted = within(self.left - self.evaluation_s(baseline=baseline), _num_rows(self._seeds) if baseline else 0)
        if fitted.max_steps is not None and baseline:
            fitted = within(self.left - self.evaluation_s(baseline=False))
        if fitted.max_steps is not None and fitted.max_steps < _LEAST_OF_THE_STEPS * fitted.full_steps:
            fitted = within(self.left - _OTHER_S)
        return fitted

    def has_time_for_baseline(self, tuned_steps: int) -> bool:
        """Return whether the baseline and the evaluation still fit.

        Args:
            tuned_steps: steps of the tuned model; the baseline takes no more.
        """
        steps = min(self.probe.full_steps(_num_rows(self._seeds)), tuned_steps)
        needed = SAFETY_FACTOR * (self.probe.overhead_s + steps * self.probe.seconds_per_step)
        return needed + self.evaluation_s(baseline=True) <= self.left

    def evaluation_s(self, *, baseline: bool) -> float:
        """Return the seconds that evaluation and report will take, by the speed measured in generation.

        Args:
            baseline: whether the baseline is evaluated, too.
        """
        start_s, tokens_per_s = last_speed(self._run.metrics())
        models = 3 if baseline else 2
        reserve = Reserve(_OTHER_S, engine_starts=models, tokens=(models + 1) * self._tokens_of_an_arm)
        return reserve.after(0, start_s or _ENGINE_START_S, tokens_per_s)

    def steps_before(self, key: Callable[[int], str]) -> int | None:
        """Return the steps that an earlier start chose for the very same training, or None.

        Args:
            key: returns the hash of the training with this many steps.
        """
        chosen = self.schedule.tuning
        return chosen.max_steps if chosen and chosen.max_steps and chosen.key == key(chosen.max_steps) else None

    def cut_tuning(self, steps: int, full_steps: int, key: str) -> None:
        """Note that the tuning is shortened.

        Args:
            steps: the steps it gets; 0: it is left out.
            full_steps: the steps of the whole tuning.
            key: hash of the shortened training.
        """
        self.schedule.tuning = ChosenSteps(max_steps=steps, key=key)
        by = f"to be done by {clock_text(self.finish_by)}"
        self.note(
            f"tuning got {steps:,} of its {full_steps:,} steps {by}, and a learning-rate schedule of that length"
            if steps
            else f"tuning was left out: not one of its {full_steps:,} steps could be taken {by}"
        )

    def note(self, sentence: str) -> None:
        """Keep in a sentence what was cut."""
        self.schedule.cut.append(sentence)
        self.save()

    def save(self) -> None:
        """Write `schedule.json`."""
        jsonl.write_json(self._run.schedule, msgspec.to_builtins(self.schedule))

    @functools.cached_property
    def _tokens_of_an_arm(self) -> int:
        return most_tokens(self._evaluate)


def _read(path: Path) -> Schedule | None:
    """Return what an earlier start wrote; None without a file that can be read: then nothing is known beforehand."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Schedule)
    except (OSError, msgspec.DecodeError):
        return None


def _probe_key(command: Sequence[str], seeds: tuple[str, ...]) -> str:
    """Return the hash of what a probe holds for: its command without the folders in it, and the seeds."""
    words = [word for word in command if not word.startswith(("--dataset_dir", "--output_dir"))]
    return hashlib.sha256(repr([words, seeds]).encode()).hexdigest()


def _num_rows(seeds: Sequence[str]) -> int:
    """Return the training rows of the seeds alone."""
    return sum(len(task.instances) for task in seed_tasks.load_seed_tasks(seeds))
