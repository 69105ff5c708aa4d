"""How a model would be tuned here, or why it cannot be: known before the run, from the model's configuration alone."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfinstruct.config.later_stages import Tune
from selfinstruct.errors import ConfigError
from selfinstruct.hardware import Gpu
from selfinstruct.parent_death import tie
from tuning.training.launch import processes_of, tune_command


@dataclass(frozen=True, slots=True)
class TuningPreview:
    """What the tuning will be.

    Attributes:
        method: `full`, `lora` or `qlora`.
        reason: why, with the memory that it takes on each GPU; empty on a CPU.
        trained: parameters that are trained; 0 on a CPU.
        arguments: TRL's arguments that follow from it.
    """

    method: str
    reason: str = ""
    trained: int = 0
    arguments: Mapping[str, Any] = field(default_factory=dict)


@contextlib.contextmanager
def started(tune: Tune, model: str, revision: str | None, gpus: tuple[Gpu, ...]) -> Iterator[subprocess.Popen[str]]:
    """Start a process in which TRL reads the tuner's arguments: whatever it keeps of a GPU ends with it.

    Args:
        tune: options of the tuning.
        model: the generator.
        revision: of the generator.
        gpus: that the tuning will have.

    Raises:
        ConfigError: an argument that the run itself decides, or a model that does not exist.
    """
    command = tune_command(
        tune,
        model=model,
        revision=revision,
        dataset_dir=Path("dataset"),
        output_dir=Path("model"),
        num_processes=1,
    )
    arguments = command[command.index("tuning.sft") + 1 :]
    processes, shared = processes_of(tune, len(gpus))
    facts = {"memory": min(gpu.total for gpu in gpus), "processes": processes, "shared": shared} if gpus else None
    process = subprocess.Popen(
        [sys.executable, "-m", "tuning.training.preview", json.dumps(facts), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=tie(signal.SIGKILL),
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def read(process: subprocess.Popen[str]) -> TuningPreview:
    """Return what the process finds.

    Raises:
        ConfigError: TRL refuses an argument or cannot be loaded, or the training does not fit into the GPUs.
    """
    output, errors = process.communicate()
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if process.returncode or not lines:
        last = (errors.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        raise ConfigError(f"tune: the tuner cannot be started here: {last:.300}; repair its installation")
    answer = json.loads(lines[-1])
    if "error" in answer:
        raise ConfigError(f"tune: {answer['error']}")
    return TuningPreview(**answer)
