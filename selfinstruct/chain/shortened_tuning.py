"""Fit a tuning into the time that a deadline leaves."""

from __future__ import annotations

from collections.abc import Callable

from selfinstruct.chain.schedule import NO_BASELINE, DeadlinePlan
from selfinstruct.chain.stage_process import DoneMark
from selfinstruct.config.later_stages import Tune
from selfinstruct.console import console
from selfinstruct.run.folders import ModelDirectory
from tuning.training import checkpoints


def tuning_in_time(
    tune: Tune, model: ModelDirectory, plan: DeadlinePlan, baseline: bool, mark: Callable[[Tune], DoneMark]
) -> tuple[Tune, bool] | None:
    """Return options of a tuning that ends in time, and whether the baseline does. None: no time for even one step.

    If an earlier start of the same command chose a number of steps that still fits, it is kept. Otherwise the steps
    trained so far would be lost.

    Args:
        tune: options of the whole tuning.
        model: folder of the tuned model, with its checkpoints.
        plan: of the run.
        baseline: whether a baseline is wanted.
        mark: returns the mark of a tuning with these options.
    """
    fitted = plan.fit()
    steps = fitted.max_steps
    before = plan.steps_before(lambda n: mark(with_steps(tune, n)).key)
    if steps is not None and before is not None:
        checkpoint = checkpoints.last_complete(model.checkpoints)
        done = int(checkpoint.name.rpartition("-")[2]) if checkpoint else 0
        if before - done <= steps or (mark(with_steps(tune, before)).is_set() and steps <= before):
            steps = before
    if baseline and not fitted.baseline:
        plan.note(NO_BASELINE)
    if steps is None:
        return tune, fitted.baseline
    plan.cut_tuning(steps, fitted.full_steps, mark(with_steps(tune, steps)).key)
    console.print(f"tune: {plan.cut[-1]}")
    return (with_steps(tune, steps), fitted.baseline) if steps else None


def with_steps(tune: Tune, steps: int) -> Tune:
    """Return the options of a tuning with this number of steps."""
    return tune.model_copy(update={"max_steps": steps})
