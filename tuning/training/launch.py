"""The command line that tunes: plain Python for one process, `accelerate launch` for several. Imports nothing heavy."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from selfinstruct.config.schema import Tune
from selfinstruct.engines.models import resolve_model
from selfinstruct.errors import ConfigError

_OURS = {
    "model_name_or_path": "tune.model",
    "dataset_dir": "the run's dataset",
    "output_dir": "the run's model folder",
    "eval_tasks": "evaluate.tasks",
    "overwrite": "--overwrite of the command",
}


def tune_command(
    tune: Tune,
    *,
    model: str,
    dataset_dir: Path,
    output_dir: Path,
    eval_tasks: Sequence[str] = (),
    num_processes: int | None = None,
) -> list[str]:
    """The argument vector that tunes `model`.

    Args:
        tune: the configuration's section; TRL's arguments in it are passed on by their own names.
        model: a path, a name on the Hub, or `demo`; `tune.model` goes before it.
        dataset_dir: the exported dataset.
        output_dir: where the tuned model goes.
        eval_tasks: what it will be evaluated on, as `evaluate.tasks` names it: training rows are held against it.
        num_processes: where neither `tune.num_processes` nor `tune.accelerate_config` says it; default: one per GPU,
            or one.

    Raises:
        ConfigError: the section names an argument that the run itself decides, or a model or a file that does not
            exist.
    """
    for name, decided_by in _OURS.items():
        if name in tune.arguments:
            raise ConfigError(f"tune.{name} is decided by {decided_by}; leave it out")
    command = [sys.executable, "-m", *_launcher(tune, num_processes), "tuning.sft"]
    command += [f"--model_name_or_path={resolve_model(tune.model or model)}"]
    command += [f"--dataset_dir={dataset_dir}", f"--output_dir={output_dir}"]
    for name, value in tune.arguments.items():
        command += _argument(name, value)
    if eval_tasks:
        command += ["--eval_tasks", *eval_tasks]
    return command


def _launcher(tune: Tune, num_processes: int | None) -> list[str]:
    """The module that starts the processes, with its arguments; none where one process is all there is."""
    if tune.accelerate_config is not None:
        if not Path(tune.accelerate_config).is_file():
            raise ConfigError(
                f"tune.accelerate_config: no such file: {tune.accelerate_config}; see `accelerate config`"
            )
        processes = [f"--num_processes={tune.num_processes}"] if tune.num_processes else []
        return ["accelerate.commands.launch", f"--config_file={tune.accelerate_config}", *processes, "--module"]
    processes_here = tune.num_processes or num_processes or max(1, num_gpus())
    if processes_here == 1:
        return []
    # What is not said here, accelerate asks for or warns about; precision is TRL's argument.
    machine = [f"--num_processes={processes_here}", "--num_machines=1", "--multi_gpu"]
    return ["accelerate.commands.launch", *machine, "--mixed_precision=no", "--dynamo_backend=no", "--module"]


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
