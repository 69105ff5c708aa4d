"""Explain why an engine does not fit into memory: which processes use it, and which option to change.

The messages of vLLM (0.22 to 0.32) and torch are recognised by their wording. NVIDIA's library, which vLLM ships,
lists the processes that use a GPU. Without the library, no processes are named.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psutil

_MIB = 2**20
_MOST_NAMED = 6


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds memory of a GPU.

    Attributes:
        gpu: the number that NVIDIA's tools give the GPU; CUDA_VISIBLE_DEVICES does not change it.
        pid: of the process.
        name: the command line of the process, if it is visible.
        mib: memory of that GPU; None where the driver does not say (in some containers).
    """

    gpu: int
    pid: int
    name: str
    mib: int | None


def explain(text: str, holders: Sequence[Holder] = ()) -> str | None:
    """Return what to do when an engine ended with `text`; None if memory was not the cause.

    Args:
        text: the engine's error, or its log.
        holders: other processes that use memory of the GPUs now.
    """
    if advice := _on_gpu(text):
        return "\n".join([advice, *_held(holders)])
    return _in_main_memory(text)


def _on_gpu(text: str) -> str | None:
    if match := re.search(r"Free memory on device \S+ \(([\d.]+)/([\d.]+) GiB\) on startup is less", text):
        free, total = float(match[1]), float(match[2])
        return f"The GPU has {free:g} of {total:g} GiB free: {_fitting(free, total, 'end what holds the rest')}."
    if "larger than the available KV cache memory" in text or "larger than the maximum number of tokens" in text:
        match = re.search(r"estimated maximum model length is (\d+)", text)
        length = f"--max-model-len {match[1]}" if match else "a smaller --max-model-len"
        return f"The context is too long for the memory left beside the weights: {length}, or {_MORE_ROOM}."
    if "No available memory for the cache blocks" in text:
        return f"The weights leave no memory for the cache: {_MORE_ROOM}, or a smaller model."
    if re.search(r"OutOfMemoryError|CUDA out of memory|CUDA error: out of memory|ALLOC_FAILED", text):
        return (
            "The GPU's memory ran out: lower --gpu-memory-utilization, --max-num-seqs or --max-model-len, "
            "spread the model with --tensor-parallel-size, or choose a smaller one."
        )
    return None


def _in_main_memory(text: str) -> str | None:
    if match := re.search(r"Available memory on node \S+ \(([\d.]+)/([\d.]+) GiB\) on startup is less", text):
        free, total = float(match[1]), float(match[2])
        fitting = _fitting(free, total, "end other programs")
        return f"{free:g} of {total:g} GiB of main memory are free: {fitting} (on CPU it is a share of main memory)."
    if "DefaultCPUAllocator" in text or "allocation is less than requested memory for kv" in text:
        return "Main memory is too small: lower VLLM_CPU_KVCACHE_SPACE (environment, GiB), or end other programs."
    if re.search(r"Failed core proc\(s\): .*: -9\b", text):
        return "The engine's process was killed, which Linux does when main memory runs out (see dmesg)."
    return None


_MORE_ROOM = "a higher --gpu-memory-utilization, more GPUs by --tensor-parallel-size"


def _fitting(free: float, total: float, otherwise: str) -> str:
    """Return the largest share of memory that fits, with a small margin; `otherwise` if that is below 5 %."""
    share = int(100 * free / total) - 2
    return f"--gpu-memory-utilization {share / 100:g} fits into it, or {otherwise}" if share >= 5 else otherwise


def _held(holders: Sequence[Holder]) -> Iterator[str]:
    largest = sorted(holders, key=lambda holder: (holder.gpu, -(holder.mib or 0)))
    for holder in largest[:_MOST_NAMED]:
        size = f"{holder.mib:,} MiB" if holder.mib is not None else "memory"
        yield f"GPU {holder.gpu}: process {holder.pid} ({holder.name}) holds {size}"
    if len(largest) > _MOST_NAMED:
        yield f"and {len(largest) - _MOST_NAMED} more processes: see nvidia-smi"


def holders() -> list[Holder]:
    """Return the other processes that hold memory of this machine's GPUs; none if that cannot be read."""
    try:
        from vllm.third_party import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        return [holder for holder in read(pynvml) if holder.pid != os.getpid()]
    except pynvml.NVMLError:
        return []
    finally:
        pynvml.nvmlShutdown()


def read(nvml: Any) -> Iterator[Holder]:
    """Yield the processes that an initialised NVML lists.

    Raises:
        NVMLError: the driver refuses.
    """
    for gpu in range(nvml.nvmlDeviceGetCount()):
        device = nvml.nvmlDeviceGetHandleByIndex(gpu)
        for process in nvml.nvmlDeviceGetComputeRunningProcesses(device):
            used = process.usedGpuMemory
            yield Holder(gpu, process.pid, _name(process.pid), None if used is None else used // _MIB)


def _name(pid: int) -> str:
    """Return a process's command line, shortened. A process of another container is not visible."""
    try:
        process = psutil.Process(pid)
        return " ".join(process.cmdline())[:60] or process.name()
    except (psutil.Error, ValueError):
        return "not visible from here"
