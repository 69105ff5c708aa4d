"""How long a training takes, and which one fits into a time."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.chain.tuning_time import Probe, fit_tuning, probe_options
from selfinstruct.clock import SAFETY_FACTOR
from selfinstruct.config.later_stages import Tune

PROBE = Probe(seconds_per_step=2.0, rows_per_step=8, overhead_s=30, epochs=3, max_steps=None, characters_per_row=100)


def test_a_training_that_fits_is_left_alone() -> None:
    assert PROBE.full_steps(80) == 30 and PROBE.full_steps(81) == 33 and PROBE.full_steps(1) == 3
    needed = SAFETY_FACTOR * (30 + 30 * 2.0)
    assert fit_tuning(PROBE, rows=80, seconds=needed + 0.1).max_steps is None
    cut = fit_tuning(PROBE, rows=80, seconds=needed - 0.1)
    assert (cut.max_steps, cut.full_steps) == (29, 30)


def test_longer_rows_take_longer_steps_and_shorter_ones_are_not_trusted() -> None:
    assert fit_tuning(PROBE, rows=80, seconds=120, characters_per_row=200).max_steps == 17
    assert fit_tuning(PROBE, rows=80, seconds=120, characters_per_row=20) == fit_tuning(PROBE, rows=80, seconds=120)


def test_the_baseline_is_given_up_before_steps_are() -> None:
    both = SAFETY_FACTOR * (2 * 30 + (30 + 12) * 2.0)
    assert fit_tuning(PROBE, rows=80, seconds=both + 0.1, baseline_rows=32).baseline
    alone = fit_tuning(PROBE, rows=80, seconds=both - 0.1, baseline_rows=32)
    assert (alone.max_steps, alone.baseline) == (None, False)
    # It never takes more steps than the model itself.
    assert fit_tuning(PROBE, rows=8, seconds=SAFETY_FACTOR * (60 + 6 * 2.0) + 0.1, baseline_rows=10_000).baseline


@given(
    rows=st.integers(1, 10**6),
    seconds=st.floats(-100, 10**6),
    step=st.floats(0.001, 100),
    baseline=st.integers(0, 1000),
    user=st.one_of(st.none(), st.integers(1, 10_000)),
)
def test_what_is_planned_always_fits(rows: int, seconds: float, step: float, baseline: int, user: int | None) -> None:
    probe = Probe(
        seconds_per_step=step, rows_per_step=8, overhead_s=5, epochs=3, max_steps=user, characters_per_row=100
    )
    fitted = fit_tuning(probe, rows=rows, seconds=seconds, baseline_rows=baseline)
    steps = fitted.full_steps if fitted.max_steps is None else fitted.max_steps
    assert 0 <= steps <= fitted.full_steps == (user or math.ceil(math.ceil(rows / 8) * 3))
    if steps:
        assert SAFETY_FACTOR * (5 + steps * step) <= seconds * (1 + 1e-9)
    assert not fitted.baseline or (baseline and fitted.max_steps is None)


def test_a_probe_runs_with_the_tuning_s_own_options_less_what_takes_time_beside() -> None:
    tune = Tune.model_validate(
        {
            "model": "m",
            "num_processes": 2,
            "accelerate_config": "fsdp.yaml",
            "use_peft": True,
            "num_train_epochs": 2,
            "eval_steps": 5,
            "save_strategy": "epoch",
        }
        | {"early_stopping_patience": 2, "load_best_model_at_end": True, "report_to": "wandb", "push_to_hub": True}
    )
    short = probe_options(tune)
    assert (short.model, short.num_processes, short.accelerate_config) == ("m", 2, "fsdp.yaml")
    assert short.arguments == {
        "use_peft": True,
        "num_train_epochs": 2,
        "max_steps": 10,
        "eval_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
    }
