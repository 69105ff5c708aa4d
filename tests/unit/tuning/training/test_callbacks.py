"""What stops a training: a loss that diverges, a signal."""

from __future__ import annotations

import signal
from types import SimpleNamespace

import pytest

from selfinstruct.errors import InputError, Interrupted
from selfinstruct.signals import on_signals
from tests.heavy import Heavy

callbacks, torch = Heavy("tuning.training.callbacks"), Heavy("torch")

ARGS = SimpleNamespace(output_dir="out/checkpoints", learning_rate=0.1)


@pytest.mark.parametrize("logs", [{"loss": float("nan")}, {"loss": float("inf")}, {"eval_a_loss": float("nan")}])
def test_a_loss_that_is_no_number_stops(logs):
    with pytest.raises(InputError, match=r"step 7.*--learning_rate \(it was 0\.1\)") as caught:
        callbacks.StopWhenDiverged().on_log(ARGS, SimpleNamespace(global_step=7), None, logs=logs)
    assert caught.value.exit_code == 4


def test_other_figures_do_not_stop():
    callbacks.StopWhenDiverged().on_log(
        ARGS, SimpleNamespace(global_step=7), None, logs={"loss": 1.0, "grad_norm": float("inf")}
    )


def test_a_spoilt_weight_stops_before_the_checkpoint():
    model = torch.nn.Linear(2, 2)
    control = SimpleNamespace(should_save=True, should_evaluate=False, should_log=False)
    watch, state = callbacks.StopWhenDiverged(), SimpleNamespace(global_step=3)
    watch.on_step_end(ARGS, state, control, model=model)
    assert control.should_log
    with torch.no_grad():
        model.bias[0] = float("inf")
    with pytest.raises(InputError, match="weight bias"):
        watch.on_step_end(ARGS, state, control, model=model)


@pytest.fixture
def interruptible():
    """A shell that starts the tests in the background has SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_signal_asks_for_a_checkpoint_and_a_second_one_ends_at_once(interruptible):
    control = SimpleNamespace(should_save=False, should_training_stop=False)
    stopper = callbacks.StopOnSignal()
    with on_signals(stopper.receive):
        stopper.on_step_end(None, None, control)
        assert not control.should_save
        signal.raise_signal(signal.SIGTERM)
        stopper.on_step_end(None, None, control)
        assert control.should_save and control.should_training_stop
        with pytest.raises(Interrupted, match="SIGINT"):
            signal.raise_signal(signal.SIGINT)
    assert stopper.received == signal.SIGTERM


def test_the_stopwatch_runs_from_the_first_step_to_the_last():
    stopwatch = callbacks.Stopwatch()
    assert stopwatch.train_s == 0
    stopwatch.on_train_begin(None, None, None)
    first = stopwatch.train_s
    assert stopwatch.train_s > first
    stopwatch.on_train_end(None, None, None)
    assert stopwatch.train_s == stopwatch.train_s
