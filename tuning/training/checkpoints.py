"""What the output directory holds: a finished model, or checkpoints to continue from.

model/                 the finished model, as transformers and vLLM load it (see `save.py`)
model/training.json    what was done; written when training begins, and again when it ends
model/checkpoints/     while training runs: checkpoint-N/, to continue from
"""

from __future__ import annotations

import contextlib
import json
import shutil
import zipfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfinstruct.console import console
from selfinstruct.errors import ConfigError, InputError
from selfinstruct.run.folders import ModelDirectory
from selfinstruct.run.training_record import Identity, TrainingRecord

_WITHOUT_EFFECT = frozenset(
    """dataset_dir output_dir eval_tasks overwrite show_row report_to run_name project disable_tqdm debug config
    ddp_timeout log_level log_level_replica log_on_each_node logging_strategy logging_steps logging_first_step
    logging_nan_inf_filter resume_from_checkpoint save_steps save_strategy save_total_limit save_on_each_node
    push_to_hub hub_token hub_model_id hub_strategy hub_private_repo hub_always_push hub_revision dataset_num_proc
    dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers dataloader_prefetch_factor
    per_device_eval_batch_size""".split()
)
"""Arguments that do not change the trained weights."""


@dataclass(frozen=True, slots=True)
class Start:
    """Where a training starts.

    Attributes:
        finished: there is nothing left to do.
        checkpoint: the checkpoint to continue from, or None to start from scratch.
        of_other_settings: there are checkpoints, but of other settings or another dataset.
    """

    finished: bool = False
    checkpoint: Path | None = None
    of_other_settings: bool = False

    @property
    def step(self) -> int | None:
        """Return the checkpoint's step."""
        return step_of(self.checkpoint) if self.checkpoint else None


def identity(
    by_user: Mapping[str, Any], *, dataset: str, model: list[tuple[str, int, int]], versions: Mapping[str, str]
) -> Identity:
    """Return what makes two trainings the same one: the arguments that matter, the data, the base model, the libraries.

    Args:
        by_user: the arguments that the user gave, and those of the chosen method.
        dataset: fingerprint of the rows.
        model: files of the base model.
        versions: of the libraries that train.
    """
    arguments = {name: value for name, value in sorted(by_user.items()) if name not in _WITHOUT_EFFECT}
    as_stored = json.loads(json.dumps(arguments, default=str))
    libraries = {name: versions[name] for name in ("torch", "transformers", "trl", "peft") if name in versions}
    return Identity(as_stored, dataset, model, libraries)


def files_of(model: Path) -> list[tuple[str, int, int]]:
    """Return name, size in bytes and modification time in ns of a local model's files; [] for a model on the Hub."""
    files = [path for path in sorted(model.glob("*")) if path.suffix in (".safetensors", ".bin", ".json", ".jinja")]
    return [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]


def stored_record(model: ModelDirectory) -> TrainingRecord | None:
    """Return the record of a model's training, or None when there is none that can be read."""
    with contextlib.suppress(InputError):
        return model.training_record()
    return None


def find_start(
    output: ModelDirectory, wanted: Identity, *, overwrite: bool = False, resume_from: str | bool | None = None
) -> Start:
    """Return where a training starts. It only reads, so that every process of a training gets the same result.

    Args:
        output: the model's folder.
        wanted: of the training that is to be started.
        overwrite: start from scratch, whatever is there.
        resume_from: TRL's `resume_from_checkpoint`: a checkpoint's folder; true and None mean the last one.

    Raises:
        ConfigError: `resume_from` is not a checkpoint, or the folder holds a model that no tuning wrote.
    """
    if output.holds_model and not output.record_path.exists():
        raise ConfigError(
            f"tune: {output.path} holds a model that no tuning wrote, and the tuned model would replace it; "
            "move it away, or tune into another folder"
        )
    record = stored_record(output)
    same = record is not None and record.identity == wanted and not overwrite
    if same and record is not None and record.state == "finished":
        return Start(finished=True)
    if resume_from not in (None, "true", "True", True):
        checkpoint = Path(str(resume_from))
        if not _is_complete(checkpoint):
            raise ConfigError(f"--resume_from_checkpoint {checkpoint}: no complete checkpoint-N folder of a trainer")
        return Start(checkpoint=checkpoint)
    folder = output.checkpoints
    if same:
        return Start(checkpoint=last_complete(folder))
    return Start(of_other_settings=not overwrite and any(_all(folder)))


def last_complete(folder: Path) -> Path | None:
    """Return the latest checkpoint that was written completely, or None.

    The trainer writes `trainer_state.json` last, but does not fsync: after a power loss this file may exist while
    weights before it are missing, so the weights are checked too.
    """
    return next((path for path in sorted(_all(folder), key=step_of, reverse=True) if _is_complete(path)), None)


def remove_unusable(output: ModelDirectory, start: Start) -> None:
    """Remove the checkpoints that the training cannot continue from.

    Args:
        output: the model's folder.
        start: where the training starts. Without a checkpoint, all are of another training; else some are incomplete.
    """
    if start.of_other_settings:
        console.print("tune: the checkpoints here are of other settings or another dataset; starting from scratch")
    if start.checkpoint is None:
        discard(output)
        return
    for path in list(_all(output.checkpoints)):
        if step_of(path) > step_of(start.checkpoint) and not _is_complete(path):
            shutil.rmtree(path)


def remove_unneeded(output: ModelDirectory, by_user: Collection[str]) -> None:
    """Remove the checkpoints of a finished training, unless the user gave an argument about them.

    Args:
        output: the model's folder.
        by_user: names of the arguments that the user gave.
    """
    folder = output.checkpoints
    if not any(name.startswith("save_") for name in by_user) or not any(folder.glob("*")):
        discard(output)


def remove_incomplete(output: ModelDirectory) -> None:
    """Remove the checkpoints that were not written to their end."""
    for path in list(_all(output.checkpoints)):
        if not _is_complete(path):
            shutil.rmtree(path, ignore_errors=True)


def discard(output: ModelDirectory) -> None:
    """Remove all checkpoints."""
    shutil.rmtree(output.checkpoints, ignore_errors=True)


def step_of(checkpoint: Path) -> int:
    """Return the step in the name of a `checkpoint-N` folder."""
    return int(checkpoint.name.rpartition("-")[2])


def _all(folder: Path) -> Iterator[Path]:
    return (p for p in folder.glob("checkpoint-*") if p.is_dir() and p.name.rpartition("-")[2].isdecimal())


def _is_complete(path: Path) -> bool:
    try:
        state = json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        return state["global_step"] == step_of(path) and all(map(_is_whole, path.iterdir()))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _is_whole(path: Path) -> bool:
    """Return whether a file of tensors is as long as its own table of contents says; only that table is read."""
    if path.suffix == ".safetensors":
        with path.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            table = json.loads(stream.read(min(size, 100_000_000)))
            end = max((entry["data_offsets"][1] for name, entry in table.items() if name != "__metadata__"), default=0)
            return 8 + size + int(end) == stream.seek(0, 2)
    if path.suffix in (".pt", ".pth", ".bin"):
        return zipfile.is_zipfile(path)  # torch.save writes zip files; their table of contents is at the end.
    return True
