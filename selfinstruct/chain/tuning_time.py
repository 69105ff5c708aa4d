"""How long a training takes, measured by a few real steps, and how many steps fit into the time there is."""

from __future__ import annotations

import math

from msgspec import Struct

from selfinstruct.clock import SAFETY_FACTOR
from selfinstruct.config.later_stages import Tune
from selfinstruct.formats import exported_rows
from selfinstruct.records import TRAIN
from selfinstruct.run.folders import DatasetDirectory, ModelDirectory

PROBE_STEPS = 10
"""Optimizer steps of the probe."""

_NOT_IN_A_PROBE = tuple("do_ early_stopping eval_ hub_ load_best push_to_hub report_to resume_ save_".split())
"""First letters of the names of arguments that do not change how fast a step is."""


class Probe(Struct, frozen=True, kw_only=True):
    """What a short real training showed.

    Attributes:
        seconds_per_step: of training.
        rows_per_step: training rows that one optimizer step takes.
        overhead_s: seconds beside the steps: imports, loading, saving.
        epochs: passes over the data that the settings ask for.
        max_steps: steps that the settings ask for instead of passes, or None.
        characters_per_row: mean length of the rows it was trained on.
    """

    seconds_per_step: float
    rows_per_step: float
    overhead_s: float
    epochs: float
    max_steps: int | None
    characters_per_row: float

    def full_steps(self, rows: int) -> int:
        """Return the steps of an uncut training on this many rows."""
        return self.max_steps or max(1, math.ceil(math.ceil(rows / self.rows_per_step) * self.epochs))

    def step_s(self, characters_per_row: float | None = None) -> float:
        """Return the seconds of a step on rows of this mean length; shorter rows are not assumed to be faster."""
        longer = (characters_per_row or 0.0) / max(self.characters_per_row, 1.0)
        return self.seconds_per_step * max(1.0, longer)


class FittedTuning(Struct, frozen=True, kw_only=True):
    """The tuning that there is time for.

    Attributes:
        max_steps: its steps; 0: not one fits; None: all of them.
        baseline: whether the baseline on the seeds alone fits, too.
        full_steps: steps of the uncut training.
    """

    max_steps: int | None
    baseline: bool
    full_steps: int


def fit_tuning(
    probe: Probe, *, rows: int, seconds: float, characters_per_row: float | None = None, baseline_rows: int = 0
) -> FittedTuning:
    """Return the longest training that ends in time, startup and saving included.

    The baseline takes no more steps than the model itself. It is given up before the model's own steps are.

    Args:
        probe: how fast training is.
        rows: training rows.
        seconds: the time there is.
        characters_per_row: mean length of the rows; default: as in the probe.
        baseline_rows: training rows of the baseline; 0: none is wanted.
    """
    full, step_s = probe.full_steps(rows), probe.step_s(characters_per_row) * SAFETY_FACTOR
    if baseline_rows:
        shared = min(full, probe.full_steps(baseline_rows))
        if 2 * probe.overhead_s * SAFETY_FACTOR + (full + shared) * step_s <= seconds:
            return FittedTuning(max_steps=None, baseline=True, full_steps=full)
    steps = math.floor((seconds - probe.overhead_s * SAFETY_FACTOR) / step_s)
    return FittedTuning(max_steps=None if steps >= full else max(0, steps), baseline=False, full_steps=full)


def probe_options(tune: Tune) -> Tune:
    """Return the tuning's own options for a few steps, without what is evaluated, kept or sent away on the way."""
    arguments = {name: value for name, value in tune.arguments.items() if not name.startswith(_NOT_IN_A_PROBE)}
    short = {"max_steps": PROBE_STEPS, "eval_strategy": "no", "save_strategy": "no", "report_to": "none"}
    own = {name: getattr(tune, name) for name in Tune.model_fields}
    return Tune.model_validate({**own, **arguments, **short})


def read_probe(model: ModelDirectory, tune: Tune, dataset: DatasetDirectory) -> Probe:
    """Return what the training record of a probe shows.

    Args:
        model: what the probe has trained.
        tune: options of the tuning itself.
        dataset: what the probe was trained on.
    """
    record = model.training_record()
    steps = max(1, record.steps)
    max_steps = int(tune.arguments.get("max_steps") or -1)
    return Probe(
        seconds_per_step=record.runtime.train_s / steps,
        rows_per_step=max(1e-6, record.rows.trained_on * record.epochs / steps),
        overhead_s=max(0.0, record.runtime.total_s - record.runtime.train_s),
        epochs=float(record.arguments["num_train_epochs"]),
        max_steps=max_steps if max_steps > 0 else None,
        characters_per_row=characters_per_row(dataset),
    )


def characters_per_row(dataset: DatasetDirectory) -> float:
    """Return the mean length of an exported dataset's training rows, in characters; 0 without rows."""
    lengths = [
        sum(len(message["content"]) for message in [*row.prompt, *row.completion])
        for row in exported_rows.read(dataset.split(TRAIN))
    ]
    return sum(lengths) / len(lengths) if lengths else 0.0
