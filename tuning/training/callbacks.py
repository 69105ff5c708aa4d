"""The trainer's callbacks: show progress, stop when the loss diverges, stop on a signal, measure time."""

from __future__ import annotations

import math
import signal
import time
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback

from selfinstruct.console import console
from selfinstruct.errors import InputError
from selfinstruct.signals import leave
from selfinstruct.text import duration

_INTERVAL_S = 10.0
"""Seconds between two lines where stderr is not a terminal."""


class ShowProgress(TrainerCallback):
    """Shows a bar on a terminal, else a line per interval. Prints every evaluation."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._task: Any = None
        self._started = self._last_line = time.monotonic()
        self._first_step = 0
        self._text = ""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the bar and the clock."""
        if not state.is_world_process_zero:
            return
        self._started = self._last_line = time.monotonic()
        self._first_step = state.global_step
        if console.is_terminal:
            columns = (
                TextColumn("tune"),
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TextColumn("{task.description}"),
                TimeRemainingColumn(),
            )
            self._progress = Progress(*columns, console=console, transient=True)
            self._task = self._progress.add_task("", total=state.max_steps, completed=state.global_step)
            self._progress.start()

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Restart the clock at the first step: the evaluation of the base model before it is not training."""
        if state.global_step == self._first_step:
            self._started = self._last_line = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Move the bar, or print a line if the interval is over."""
        if not state.is_world_process_zero:
            return
        if self._progress is not None:
            self._progress.update(self._task, completed=state.global_step, description=self._text)
        elif self._text and time.monotonic() - self._last_line >= _INTERVAL_S:
            self._last_line = time.monotonic()
            console.print(f"tune: step {state.global_step}/{state.max_steps} · {self._text}{self._left(state)}")

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Keep the figures of a log; print those of an evaluation."""
        if not state.is_world_process_zero or logs is None:
            return
        if "loss" in logs:
            elapsed = max(time.monotonic() - self._started, 1e-6)
            rate = logs.get("num_tokens", 0.0) / elapsed
            self._text = f"epoch {state.epoch or 0:.1f} · loss {logs['loss']:.3f} · {rate:,.0f} tokens/s"
        for name, value in logs.items():
            if name.startswith("eval_") and name.endswith("_loss"):
                console.print(f"tune: step {state.global_step}/{state.max_steps} · {name[5:-5]} loss {value:.3f}")

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Remove the bar."""
        self.close()

    def close(self) -> None:
        """Remove the bar; also after an error."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _left(self, state: Any) -> str:
        done = state.global_step - self._first_step
        if not done:
            return ""
        seconds = (time.monotonic() - self._started) / done * (state.max_steps - state.global_step)
        return f" · about {duration(seconds)} left"


class MakeCheckpointFolder(TrainerCallback):
    """Makes a checkpoint's folder before the trainer looks for it.

    Under FSDP the trainer first remembers where the best model is, and writes its weights afterwards. It remembers only
    a folder that exists; without this one it would later load an older checkpoint, which is removed by then
    (transformers 5.19).
    """

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Make the folder of the checkpoint that is about to be written."""
        if control.should_save:
            (Path(args.output_dir) / f"checkpoint-{state.global_step}").mkdir(parents=True, exist_ok=True)

    on_epoch_end = on_step_end


class StopWhenDiverged(TrainerCallback):
    """Stops training when a loss or a weight is not a finite number.

    Both are checked before every checkpoint, so that every checkpoint is good: a step with a finite loss can still have
    destroyed the weights.
    """

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Have the loss logged, and check the weights, before a checkpoint is written."""
        if control.should_save or control.should_evaluate:
            control.should_log = True
        if control.should_save:
            self.check_weights(model, state.global_step, args)

    on_epoch_end = on_step_end

    def on_train_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Check the weights that are going to be kept."""
        self.check_weights(model, state.global_step, args)

    @staticmethod
    def check_weights(model: Any, step: int, args: Any) -> None:
        """Check every trained weight.

        Args:
            model: with its weights after a step.
            step: number of the step.
            args: of the trainer.

        Raises:
            InputError: one is NaN or infinite.
        """
        for name, weight in model.named_parameters():
            part = weight.to_local() if hasattr(weight, "to_local") else weight  # under FSDP2, this process's part
            if weight.requires_grad and not part.isfinite().all():
                raise _diverged(f"weight {name} has a value that is not a finite number", step, args)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Check every loss.

        Raises:
            InputError: a loss is NaN or infinite.
        """
        for name, value in (logs or {}).items():
            if (name == "loss" or (name.startswith("eval_") and name.endswith("_loss"))) and not math.isfinite(value):
                raise _diverged(f"{name} is {value}", state.global_step, args)


def _diverged(what: str, step: int, args: Any) -> InputError:
    return InputError(
        f"tune: {what} after step {step}: training has diverged and was stopped; the last good checkpoint, if there is "
        f"one, is in {args.output_dir}. Lower --learning_rate (it was {args.learning_rate:g}), or train in bf16 rather "
        "than fp16"
    )


class StopOnSignal(TrainerCallback):
    """Ends training after the current step, with a checkpoint, when a signal has come. A second one ends it at once."""

    def __init__(self) -> None:
        self.received: int | None = None

    def receive(self, number: int) -> None:
        """Take note of a signal; for `on_signals`.

        Raises:
            Interrupted: it is the second one.
        """
        if self.received is not None:
            leave(number)
        self.received = number
        console.print(f"tune: {signal.Signals(number).name}: stopping after this step, with a checkpoint")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop, with a checkpoint, when a signal has come."""
        if self.received is not None:
            control.should_save = control.should_training_stop = True

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Do not evaluate any more when a signal has come."""
        if self.received is not None:
            control.should_evaluate = False


class Stopwatch(TrainerCallback):
    """Measures the time of the training loop, its evaluations included.

    Attributes:
        began: when the loop began, by `time.monotonic`.
    """

    def __init__(self) -> None:
        self.began = time.monotonic()
        self._ended: float | None = self.began

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start."""
        self.began, self._ended = time.monotonic(), None

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop."""
        self._ended = time.monotonic()

    @property
    def train_s(self) -> float:
        """Return the seconds of the loop, up to now if it has not ended."""
        return (time.monotonic() if self._ended is None else self._ended) - self.began
