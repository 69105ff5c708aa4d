"""What lies in the output directory: a finished model, or checkpoints to continue from.

model/                 the finished model, as transformers and vLLM load it (see `output.py`)
model/training.json    what was done; written at the start, and again at the end
model/checkpoints/     while training runs: checkpoint-N/, to continue from
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = "checkpoints"
RECORD = "training.json"

_NO_MATTER = frozenset(
    """dataset_dir output_dir eval_tasks overwrite show_row report_to run_name project disable_tqdm debug config
    ddp_timeout log_level log_level_replica log_on_each_node logging_strategy logging_steps logging_first_step
    logging_nan_inf_filter resume_from_checkpoint save_steps save_strategy save_total_limit save_on_each_node
    push_to_hub hub_token hub_model_id hub_strategy hub_private_repo hub_always_push hub_revision dataset_num_proc
    dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers dataloader_prefetch_factor
    per_device_eval_batch_size""".split()
)
"""Arguments that do not change what is learnt."""


def identity(
    given: dict[str, Any], *, dataset: str, model: list[tuple[str, int, int]], versions: dict[str, str]
) -> dict[str, Any]:
    """What makes two trainings the same one: the arguments that matter, the data, the base model, the libraries.

    Args:
        given: the arguments that the user gave.
        dataset: fingerprint of what is learnt.
        model: files of the base model.
        versions: of the libraries that train.
    """
    arguments = {name: value for name, value in sorted(given.items()) if name not in _NO_MATTER}
    trainers = {name: versions[name] for name in ("torch", "transformers", "trl", "peft") if name in versions}
    found = {"arguments": arguments, "dataset_sha256": dataset, "model_files": model, "versions": trainers}
    return json.loads(json.dumps(found, default=str))


def files_of(model: Path) -> list[tuple[str, int, int]]:
    """Name, size in bytes and modification time in ns of a local model's files; a model on the Hub has a revision."""
    found = [path for path in sorted(model.glob("*")) if path.suffix in (".safetensors", ".bin", ".json", ".jinja")]
    return [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in found]


def record(output_dir: Path) -> dict[str, Any]:
    """The `training.json` that is there, or an empty one."""
    try:
        found = json.loads((output_dir / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def last_complete(folder: Path) -> Path | None:
    """The latest checkpoint that was written to its end; later ones that a crash cut short are removed.

    The trainer writes `trainer_state.json` last, but fsyncs nothing: after a power loss it may be there and weights
    before it not, so these are looked at too.
    """
    for path in sorted(_all(folder), key=_step, reverse=True):
        if _is_complete(path):
            return path
        shutil.rmtree(path)
    return None


def discard(output_dir: Path) -> None:
    """Remove the checkpoints."""
    shutil.rmtree(output_dir / FOLDER, ignore_errors=True)


def _all(folder: Path) -> Iterator[Path]:
    return (p for p in folder.glob("checkpoint-*") if p.is_dir() and p.name.rpartition("-")[2].isdecimal())


def _step(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


def _is_complete(path: Path) -> bool:
    try:
        state = json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        return state["global_step"] == _step(path) and all(map(_is_whole, path.iterdir()))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _is_whole(path: Path) -> bool:
    """Whether a file of tensors is as long as its own table of contents says; nothing is read but that."""
    if path.suffix == ".safetensors":
        with path.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            table = json.loads(stream.read(min(size, 100_000_000)))
            end = max((entry["data_offsets"][1] for name, entry in table.items() if name != "__metadata__"), default=0)
            return 8 + size + int(end) == stream.seek(0, 2)
    if path.suffix in (".pt", ".pth", ".bin"):
        return zipfile.is_zipfile(path)  # What torch.save writes; its table of contents is at the end.
    return True
