"""The third step of a training: make TRL's trainer, and run it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import trl

from selfinstruct.errors import ConfigError, Interrupted, StoppedError
from selfinstruct.signals import on_signals
from tuning.training import data, zero3
from tuning.training.adapter import adapter_config, complete_wrapper
from tuning.training.arguments import Arguments
from tuning.training.prepare import Prepared, loading


def make_trainer(arguments: Arguments, config: trl.SFTConfig, prepared: Prepared) -> Any:
    """Load the model into TRL's `SFTTrainer`, with our callbacks in place of those that print.

    Args:
        arguments: of the training.
        config: TRL's, final.
        prepared: the model's tokenizer and the tokenized rows.

    Raises:
        ConfigError: the model cannot be loaded, or TRL refuses an argument.
        StoppedError: the model does not fit into GPU memory.
    """
    from transformers import EarlyStoppingCallback, PrinterCallback
    from transformers.integrations import TensorBoardCallback
    from transformers.integrations.integration_utils import default_logdir
    from trl import SFTTrainer, get_quantization_config

    from tuning.training.callbacks import MakeCheckpointFolder, StopWhenDiverged

    # The one change to a finished SFTConfig: its DeepSpeed plugin exists only after TRL has made it.
    zero3.gather_when_saved(config)
    callbacks: list[Any] = [StopWhenDiverged()]
    if arguments.tune.early_stopping_patience is not None:
        callbacks.append(EarlyStoppingCallback(arguments.tune.early_stopping_patience))
    validation = {split: data.to_dataset(rows) for split, rows in prepared.validation.items()}
    with loading(prepared.base), _trl_refuses():
        trainer = SFTTrainer(
            model=prepared.base.source,
            args=config,
            train_dataset=data.to_dataset(prepared.trained_rows),
            eval_dataset=validation if validation and config.eval_strategy != "no" else None,
            processing_class=prepared.tokenizer,
            quantization_config=get_quantization_config(arguments.model),
            peft_config=adapter_config(arguments.model, prepared),
            callbacks=callbacks,
        )
    complete_wrapper(trainer.model)
    trainer.remove_callback(PrinterCallback)
    for callback in trainer.callback_handler.callbacks:
        # Not beside the checkpoints, which are removed in the end.
        if isinstance(callback, TensorBoardCallback) and callback.logging_dir is None:
            callback.logging_dir = str(Path(arguments.training["output_dir"]) / default_logdir())
    if trainer.is_fsdp_enabled:
        trainer.add_callback(MakeCheckpointFolder())
    return trainer


def train(trainer: Any, checkpoint: Path | None) -> None:
    """Train to the end, and evaluate the final model if that has not been done.

    A signal ends a single process after its current step, with a checkpoint. Several processes would not all end at the
    same step; there whoever started them ends them.

    Args:
        trainer: TRL's.
        checkpoint: where to continue from; None: the base model.

    Raises:
        Interrupted: a signal came.
        InputError: the training diverged.
        StoppedError: GPU memory ran out.
    """
    import torch

    from tuning.training.callbacks import ShowProgress, StopOnSignal

    progress, stopper = ShowProgress(), StopOnSignal()
    trainer.add_callback(progress)
    trainer.add_callback(stopper)
    is_alone = trainer.args.world_size == 1
    try:
        with on_signals(stopper.receive) if is_alone else contextlib.nullcontext():
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except torch.OutOfMemoryError as error:
        raise _out_of_memory(error) from error
    finally:
        progress.close()
    if stopper.received is not None:
        raise Interrupted(stopper.received)
    evaluated = {row["step"] for row in trainer.state.log_history if any(name.startswith("eval_") for name in row)}
    best_loaded = trainer.args.load_best_model_at_end and trainer.state.best_model_checkpoint is not None
    if trainer.eval_dataset is not None and trainer.state.global_step not in evaluated and not best_loaded:
        trainer.evaluate()


@contextlib.contextmanager
def _trl_refuses() -> Iterator[None]:
    """Report in one line what TRL and transformers check only against the model, the data and what is installed."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise _out_of_memory(error) from error
    except (ValueError, ImportError, RuntimeError) as error:
        raise ConfigError(f"TRL refuses: {error}") from error


def _out_of_memory(error: Exception) -> StoppedError:
    return StoppedError(
        f"tune: out of GPU memory: {str(error).splitlines()[0]}\nLower --per_device_train_batch_size (and raise "
        "--gradient_accumulation_steps), lower --max_length, or tune with --use_peft"
    )
