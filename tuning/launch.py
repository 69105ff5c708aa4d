"""The command line that tunes: plain Python for one process, `accelerate launch` for several. Imports nothing heavy."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selfinstruct.config import Tune
from selfinstruct.engines.vllm import resolve_model
from selfinstruct.errors import ConfigError

_OURS = {"model_name_or_path": "tune.model", "dataset_dir": "the run's dataset", "output_dir": "the run's model folder"}


def tune_command(
    tune: Tune,
    *,
    model: str,
    dataset_dir: Path,
    output_dir: Path,
    overwrite: bool = False,
    num_processes: int | None = None,
) -> list[str]:
    """The argument vector that tunes `model`.

    Args:
        tune: the configuration's section; TRL's arguments in it are passed on by their own names.
        model: a path, a name on the Hub, or `demo`; `tune.model` goes before it.
        dataset_dir: the exported dataset.
        output_dir: where the tuned model goes.
        overwrite: start anew, whatever is there.
        num_processes: where `tune.num_processes` says nothing; default: one per GPU, or one.

    Raises:
        ConfigError: the section names an argument that the run itself decides, or a model that does not exist.
    """
    for name, decided_by in _OURS.items():
        if name in tune.arguments:
            raise ConfigError(f"tune.{name} is decided by {decided_by}; leave it out")
    processes = tune.num_processes or num_processes or max(1, num_gpus())
    command = [sys.executable, "-m"]
    if processes > 1:
        # What is not said here, accelerate asks for or warns about; precision is TRL's argument.
        command += ["accelerate.commands.launch", f"--num_processes={processes}", "--num_machines=1", "--multi_gpu"]
        command += ["--mixed_precision=no", "--dynamo_backend=no", "--module"]
    command += ["tuning.sft", f"--model_name_or_path={resolve_model(tune.model or model)}"]
    command += [f"--dataset_dir={dataset_dir}", f"--output_dir={output_dir}"]
    for name, value in tune.arguments.items():
        command += _argument(name, value)
    return [*command, "--overwrite"] if overwrite else command


def num_gpus() -> int:
    """GPUs that this process may use."""
    import torch

    return torch.cuda.device_count()


def _argument(name: str, value: Any) -> Iterator[str]:
    """One option as `HfArgumentParser` reads it."""
    option = f"--{name.replace('-', '_')}"
    if isinstance(value, bool):
        yield f"{option}={str(value).lower()}"
    elif isinstance(value, dict):
        yield f"{option}={json.dumps(value)}"
    elif isinstance(value, (list, tuple)):
        if value:
            yield option
            yield from map(str, value)
    else:
        yield f"{option}={'none' if value is None else value}"
