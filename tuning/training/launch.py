"""The command line that tunes: plain Python for one process, `accelerate launch` for several. Imports nothing heavy."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from selfinstruct.config.later_stages import Tune
from selfinstruct.config.load import load_yaml
from selfinstruct.engines.models import resolve_model
from selfinstruct.errors import ConfigError

_OURS = {
    "model_name_or_path": "tune.model",
    "dataset_dir": "the run's dataset",
    "output_dir": "the run's model folder",
    "eval_tasks": "evaluate.tasks",
    "overwrite": "--overwrite of the command",
}

STEP_ROWS = 8
"""Rows of an optimizer step, TRL's default on one GPU."""

FSDP2 = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",  # One process reads the weights, and the others get their parts from it.
}
"""What `accelerate launch --use_fsdp --fsdp_version 2` sets in the environment of the processes that it starts."""


def tune_command(
    tune: Tune,
    *,
    model: str,
    revision: str | None = None,
    dataset_dir: Path,
    output_dir: Path,
    eval_tasks: Sequence[str] = (),
    hold_out: tuple[str, float] | None = None,
    num_processes: int | None = None,
) -> list[str]:
    """Return the command that tunes `model`.

    Args:
        tune: the configuration's section; TRL's arguments in it keep their own names.
        model: a path, a name on the Hub, or `demo`; used unless `tune.model` names one.
        revision: of that model on the Hub.
        dataset_dir: folder of the exported dataset.
        output_dir: folder of the tuned model.
        eval_tasks: the tasks of the later evaluation, as in `evaluate.tasks`; training rows are compared with them.
        hold_out: what is held out of the mixed datasets, and its share, unless `tune.mix_hold_out` says it.
        num_processes: used unless `tune.num_processes` or `tune.accelerate_config` is set; default: see
            `dividing_processes`.

    Raises:
        ConfigError: the section has an argument that the run itself decides, or names a model or a file that does
            not exist, or the model lies in `output_dir`.
    """
    for name, decided_by in _OURS.items():
        if name in tune.arguments:
            raise ConfigError(f"tune.{name} is decided by {decided_by}; leave it out")
    refuse_own_source(tune.model or model, output_dir)
    command = [sys.executable, "-m", *_launcher(tune, num_processes), "tuning.sft"]
    base, of_base = tuned_from(tune, model, revision)
    command += [f"--model_name_or_path={resolve_model(base)}"]
    if of_base is not None and "model_revision" not in tune.arguments:
        command.append(f"--model_revision={of_base}")
    command += [f"--dataset_dir={dataset_dir}", f"--output_dir={output_dir}"]
    for name, value in tune.arguments.items():
        command += _argument(name, value)
    if eval_tasks:
        command += ["--eval_tasks", *eval_tasks]
    if hold_out is not None and tune.arguments.get("mix") and "mix_hold_out" not in tune.arguments:
        command += [f"--mix_hold_out={hold_out[0]}", f"--mix_hold_out_share={hold_out[1]}"]
    return command


def refuse_own_source(model: str, output_dir: Path) -> None:
    """Raise `ConfigError` if the model that is tuned lies in the folder of the tuned model, which replaces it."""
    source, output = Path(model).expanduser().resolve(), output_dir.resolve()
    if source.is_dir() and source.is_relative_to(output):
        raise ConfigError(
            f"tune: the model to tune, {model}, lies in {output_dir}, where the tuned model would replace it; "
            "copy it to another folder and give that, or tune into another folder"
        )


def tuned_from(tune: Tune, model: str, revision: str | None) -> tuple[str, str | None]:
    """Return the model that is tuned, and its revision on the Hub.

    Args:
        tune: the configuration's section; it may name both.
        model: the generator.
        revision: of the generator.
    """
    base = tune.model or model
    own = tune.arguments.get("model_revision")
    return base, str(own) if own is not None else revision if base == model else None


def _launcher(tune: Tune, num_processes: int | None) -> list[str]:
    """Return the module that starts several processes, with its arguments; nothing for one process."""
    if tune.accelerate_config is not None:
        if not Path(tune.accelerate_config).is_file():
            raise ConfigError(
                f"tune.accelerate_config: no such file: {tune.accelerate_config}; see `accelerate config`"
            )
        processes = [f"--num_processes={tune.num_processes}"] if tune.num_processes else []
        return ["tuning.training.accelerate_launch", f"--config_file={tune.accelerate_config}", *processes, "--module"]
    processes_here = tune.num_processes or num_processes or dividing_processes(num_gpus())
    if processes_here == 1:
        return []
    # accelerate warns about what is not set here; precision is TRL's argument.
    machine = [f"--num_processes={processes_here}", "--num_machines=1", "--multi_gpu"]
    return ["tuning.training.accelerate_launch", *machine, "--mixed_precision=no", "--dynamo_backend=no", "--module"]


def processes_of(tune: Tune, gpus: int) -> tuple[int, bool]:
    """Return the processes of a tuning, and whether the user's file of accelerate shares the model between them.

    Args:
        tune: the configuration's section.
        gpus: how many there are.
    """
    settings = load_yaml(Path(tune.accelerate_config)) if tune.accelerate_config is not None else {}
    processes = tune.num_processes or int(settings.get("num_processes") or dividing_processes(gpus))
    return processes, str(settings.get("distributed_type", "")).upper() in ("FSDP", "DEEPSPEED", "MEGATRON_LM")


def dividing_processes(gpus: int) -> int:
    """Return how many processes train on a machine: one per GPU, as long as a step's rows can be divided among them.

    With another number a step would have other rows, and what is learnt would depend on the machine.

    Args:
        gpus: how many there are; 0: the training runs on the CPU, in one process.
    """
    return max(number for number in range(1, STEP_ROWS + 1) if STEP_ROWS % number == 0 and number <= max(1, gpus))


def num_gpus() -> int:
    """Return the number of GPUs that this process may use."""
    import torch

    return torch.cuda.device_count()


def _argument(name: str, value: Any) -> Iterator[str]:
    """Yield one option in the form that `HfArgumentParser` reads."""
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
