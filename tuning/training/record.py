"""The record of a training (`training.json`, see `selfinstruct/run/training_record.py`): made here, kept true here."""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from selfinstruct.console import console
from selfinstruct.dataset.mixture import SourceCounts
from selfinstruct.errors import Interrupted, SelfInstructError, StoppedError
from selfinstruct.program_edge import DISK_FULL, message_of
from selfinstruct.records import SPLITS, TRAIN, UNSEEN
from selfinstruct.run.folders import ModelDirectory
from selfinstruct.run.training_record import (
    EvalLoss,
    Identity,
    Losses,
    Machine,
    MixedIn,
    Overfitting,
    Parameters,
    Rows,
    Runtime,
    Tokens,
    TrainingRecord,
    TrainLoss,
    write_training_record,
)
from selfinstruct.text import duration, size_text
from tuning.training import checkpoints, data, memory
from tuning.training.arguments import Arguments
from tuning.training.check import Checked
from tuning.training.data import TokenizedRow
from tuning.training.prepare import BaseModel, Prepared

if TYPE_CHECKING:
    from tuning.training.callbacks import Stopwatch

_PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "tokenizers")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that train."""
    result = {"python": platform.python_version()}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            result[name] = metadata.version(name)
    return result


def identity(arguments: Arguments, base: BaseModel, rows: data.Rows) -> Identity:
    """Return what makes two trainings the same one.

    Args:
        arguments: of the training.
        base: the model that is tuned.
        rows: the dataset.
    """
    files = checkpoints.files_of(Path(base.source))
    settings = {**arguments.by_user, **(arguments.choice.identity if arguments.choice else {})}
    return checkpoints.identity(settings, dataset=data.fingerprint(rows), model=files, versions=versions())


def begin(
    arguments: Arguments,
    prepared: Prepared,
    checked: Checked,
    trainer: Any,
    *,
    identity: Identity,
    mixture: Sequence[SourceCounts] = (),
    resumed_from_step: int | None,
) -> TrainingRecord:
    """Make the record of a training that is about to begin.

    Args:
        arguments: of the training.
        prepared: the model and the rows.
        checked: the findings, and the device's memory.
        trainer: TRL's, with the loaded model.
        identity: what makes two trainings the same one.
        mixture: what `--mix` has added.
        resumed_from_step: the step of the checkpoint that is continued, if any.
    """
    args = trainer.args
    return TrainingRecord(
        state="running",
        identity=identity,
        model=prepared.base.source,
        method="lora" if arguments.model.use_peft else "full",
        method_reason=arguments.choice.reason if arguments.choice else "",
        merge=arguments.tune.merge if arguments.model.use_peft else None,
        dataset_dir=arguments.tune.dataset_dir,
        rows=_rows(prepared, trainer),
        mixture=mixed_in(mixture, [len(row.input_ids) for row in prepared.tokens[TRAIN]]),
        template=prepared.template,
        findings=list(checked.findings),
        arguments={**asdict(arguments.tune), **asdict(arguments.model), **args.to_sanitized_dict()},
        given=sorted(arguments.by_user),
        versions=versions(),
        machine=Machine(_device_name(args.device), args.world_size),
        parameters=_parameters(trainer.model),
        tokens=_tokens(prepared.tokens[TRAIN]),
        resumed_from_step=resumed_from_step,
        memory=checked.memory,
    )


def mixed_in(sources: Sequence[SourceCounts], lengths: Sequence[int]) -> list[MixedIn]:
    """Return the sources with their tokens.

    Args:
        sources: in the order of their rows, behind which the run's own rows may be counted.
        lengths: of all training rows, the run's own first.
    """
    mixed, end = [], len(lengths)
    for source in reversed(sources):
        begin = 0 if source.is_own else end - source.taken
        mixed.append(
            MixedIn(
                source.name,
                source.read,
                source.taken,
                source.left_over,
                dict(source.left_out + source.dropped),
                source.examples_of_overlap,
                source.held_out,
                source.spare,
                tokens=sum(lengths[begin : begin + source.taken]),
                licence=source.licence,
            )
        )
        end = end if source.is_own else begin
    return mixed[::-1]


@contextlib.contextmanager
def recorded(output: ModelDirectory, record: TrainingRecord, trainer: Any, *, started: float) -> Iterator[None]:
    """Write and print the record when the block begins; write it again when it ends or fails.

    Only the main process does so.

    Args:
        output: the folder of the model and the record.
        record: as the training begins.
        trainer: trained in the block.
        started: when the program started, by `time.monotonic`.

    Raises:
        SelfInstructError: the disk is full. Other errors of the block are raised as they are.
    """
    from tuning.training.callbacks import Stopwatch

    stopwatch = Stopwatch()
    trainer.add_callback(stopwatch)

    def write(**outcome: Any) -> None:
        if trainer.is_world_process_zero():
            now = msgspec.structs.replace(record, **_progress(record, trainer, stopwatch, started), **outcome)
            write_training_record(output.record_path, now)

    if trainer.is_world_process_zero():
        output.done.unlink(missing_ok=True)  # From now on the folder no longer holds what the mark says.
    write(state="running")
    if trainer.is_world_process_zero():
        announce(record)

    def conclude(**outcome: Any) -> None:
        """Write how it ended, on a full disk too: the record then gives its own room back first."""
        with contextlib.suppress(OSError):
            try:
                write(**outcome)
            except OSError:
                output.record_path.unlink(missing_ok=True)
                write(**outcome)

    try:
        yield
        write(state="finished")
    except (SelfInstructError, Interrupted) as error:
        stopped = isinstance(error, (StoppedError, Interrupted))
        conclude(state="stopped" if stopped else "failed", exit_code=error.exit_code, error=str(error))
        raise
    except Exception as error:
        if trainer.is_world_process_zero():
            checkpoints.remove_incomplete(output)  # A full disk needs room for the record.
        known = _full_disk(output, error) or error
        conclude(state="failed", exit_code=1, error=message_of(known))
        raise known from error


def _full_disk(output: ModelDirectory, error: Exception) -> SelfInstructError | None:
    """Return the error of a full disk, which torch and safetensors report in words of their own; None if it is none."""
    signs = ["inline_container", "PytorchStreamWriter", *(f"(os error {number})" for number in DISK_FULL)]
    if not any(sign in str(error) for sign in signs):
        return None
    return SelfInstructError(
        f"{output.path} cannot be written, probably because the disk is full or a quota used up "
        f"({str(error).splitlines()[0]}); make room, then give the same command again"
    )


def losses(history: Sequence[Mapping[str, Any]], final_step: int | None = None) -> Losses:
    """Return the trainer's log as the losses of training, and of each validation split.

    Args:
        history: `trainer.state.log_history`.
        final_step: step of the model that is kept; default: the last one.
    """
    train = [
        TrainLoss(row["step"], row.get("epoch"), row["loss"], row.get("learning_rate"))
        for row in history
        if "loss" in row
    ]
    evaluation: dict[str, list[EvalLoss]] = {}
    for row in history:
        for name, value in row.items():
            if name.startswith("eval_") and name.endswith("_loss"):
                points = evaluation.setdefault(name[len("eval_") : -len("_loss")], [])
                if not points or points[-1].step != row["step"]:  # a continued run evaluates its first step again
                    points.append(EvalLoss(row["step"], value))
    base = {split: points[0].loss for split, points in evaluation.items() if points[0].step == 0}
    final = {
        split: next((p.loss for p in points if p.step == final_step), points[-1].loss)
        for split, points in evaluation.items()
    }
    return Losses(train, evaluation, base, final)


def overfitting(evaluation: Mapping[str, Sequence[EvalLoss]], tolerance: float = 0.02) -> Overfitting | None:
    """Return the lowest and the last loss on unseen tasks if the loss rose again, else None.

    Args:
        evaluation: losses of each split; that of the base model (step 0) is ignored.
        tolerance: the last loss may be higher than the lowest by this share.
    """
    points = [(point.step, point.loss) for point in evaluation.get(UNSEEN, ()) if point.step and point.loss is not None]
    if not points:
        return None
    (lowest_step, lowest), (_, last) = min(points, key=lambda point: point[1]), points[-1]
    return Overfitting(lowest_step, lowest, last) if last > lowest * (1 + tolerance) else None


def announce(record: TrainingRecord) -> None:
    """Print what is going to be trained, and how."""
    counts, arguments = record.parameters, record.arguments
    method = (
        f"LoRA, {counts.trainable:,} of {counts.total:,} parameters"
        if counts.trainable < counts.total
        else f"full, {counts.total:,} parameters"
    )
    parts = [
        f"tune: {record.rows.train} rows, {record.tokens.trained:,} of {record.tokens.train:,} tokens trained",
        method,
        f"learning rate {arguments['learning_rate']:g}",
        f"template: {record.template.source}",
        record.machine.device,
    ]
    if record.memory.estimate:
        parts.append(f"memory about {size_text(record.memory.estimate['total'])}")
    if record.resumed_from_step is not None:
        parts.append(f"continuing from step {record.resumed_from_step}")
    console.print(" · ".join(parts))


def summarize(output: ModelDirectory) -> None:
    """Print how the training of a model went, by its record."""
    record = output.training_record()
    runtime, loss = record.runtime, record.loss
    changes = [f"{split} loss {_loss(loss.base.get(split))} -> {_loss(value)}" for split, value in loss.final.items()]
    speed = f"{runtime.steps_per_s:.2f} steps/s, {runtime.tokens_per_s:,.0f} tokens/s"
    console.print(
        f"tune: {record.steps} steps in {duration(runtime.train_s)} ({speed}, startup {duration(runtime.startup_s)})"
        + "".join(f" · {change}" for change in changes)
    )
    if (rise := record.overfitting) is not None:
        consequence = (
            "the model of that step is kept"
            if record.arguments["load_best_model_at_end"]
            else "train for fewer epochs, or give --load_best_model_at_end"
        )
        console.print(
            f"tune: overfitting: the loss on {UNSEEN} was lowest at step {rise.lowest_step} ({rise.lowest:.3f}) and "
            f"{rise.last:.3f} at the end; {consequence}"
        )
    console.print(f"tune: {output.path}")


def _loss(value: float | None) -> str:
    return "nan" if value is None else f"{value:.3f}"


def _progress(record: TrainingRecord, trainer: Any, stopwatch: Stopwatch, started: float) -> dict[str, Any]:
    """Return the fields that change while the trainer works."""
    state, history = trainer.state, trainer.state.log_history
    loss = losses(history, state.best_global_step if trainer.args.load_best_model_at_end else None)
    done = state.global_step - (record.resumed_from_step or 0)
    # Rates use the trainer's own count and time, so that they compare with what TRL logs.
    tokens = next((row["num_tokens"] for row in reversed(history) if "num_tokens" in row), 0)
    seconds = next((row["train_runtime"] for row in reversed(history) if "train_runtime" in row), stopwatch.train_s)
    return {
        "steps": state.global_step,
        "epochs": round(state.epoch or 0.0, 3),
        "loss": loss,
        "overfitting": overfitting(loss.evaluation),
        "runtime": Runtime(
            startup_s=round(stopwatch.began - started, 1),
            train_s=round(stopwatch.train_s, 1),
            total_s=round(time.monotonic() - started, 1),
            steps_per_s=round(done / max(seconds, 1e-6), 3),
            tokens_per_s=round(tokens / max(seconds, 1e-6), 1),
        ),
        "memory": msgspec.structs.replace(record.memory, peak=memory.peak_memory(trainer.args.device)),
    }


def _rows(prepared: Prepared, trainer: Any) -> Rows:
    counts = {split: len(prepared.rows[split]) for split in SPLITS}
    sequences = len(trainer.train_dataset)
    if trainer.args.packing:
        return Rows(**counts, trained_on=len(prepared.trained_rows), blocks=sequences)
    return Rows(**counts, trained_on=sequences)


def _tokens(rows: Sequence[TokenizedRow]) -> Tokens:
    return Tokens(train=sum(len(row.input_ids) for row in rows), trained=sum(row.num_trained for row in rows))


def _parameters(model: Any) -> Parameters:
    """Count the parameters, those that DeepSpeed keeps in other processes included."""
    if hasattr(model, "get_nb_trainable_parameters"):  # PEFT's also knows that 4-bit weights are packed in pairs
        trainable, total = model.get_nb_trainable_parameters()
        return Parameters(total, trainable)
    sizes = [(getattr(p, "ds_numel", p.numel()), p.requires_grad) for p in model.parameters()]
    return Parameters(sum(n for n, _ in sizes), sum(n for n, trained in sizes if trained))


def _device_name(device: Any) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
