"""When an engine does not fit into memory: who holds it, and which option to change.

vLLM's messages are recognised by their wording (0.22 to 0.32), torch's by theirs. The readings of the GPU come from
NVIDIA's library, which vLLM ships; where there is none, nothing is said of who holds the memory.
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
        gpu: the GPU's number in NVIDIA's own counting, which CUDA_VISIBLE_DEVICES does not change.
        name: how the process was started, as far as it can be seen.
        mib: memory of that GPU; None where the driver does not say (in some containers).
    """

    gpu: int
    pid: int
    name: str
    mib: int | None


def explain(text: str, holders: Sequence[Holder] = ()) -> str | None:
    """What to do about an engine that ended with `text`; None when that was not for want of memory.

    Args:
        text: the engine's error, or its log.
        holders: who holds memory of the GPUs now, besides the engine that has just ended.
    """
    if advice := _on_gpu(text):
        return "\n".join([advice, *_held(holders)])
    return _in_main_memory(text)


def _on_gpu(text: str) -> str | None:
    if found := re.search(r"Free memory on device \S+ \(([\d.]+)/([\d.]+) GiB\) on startup is less", text):
        free, total = float(found[1]), float(found[2])
        return f"The GPU has {free:g} of {total:g} GiB free: {_fitting(free, total, 'end what holds the rest')}."
    if "larger than the available KV cache memory" in text or "larger than the maximum number of tokens" in text:
        found = re.search(r"estimated maximum model length is (\d+)", text)
        length = f"--max-model-len {found[1]}" if found else "a smaller --max-model-len"
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
    if found := re.search(r"Available memory on node \S+ \(([\d.]+)/([\d.]+) GiB\) on startup is less", text):
        free, total = float(found[1]), float(found[2])
        fitting = _fitting(free, total, "end other programs")
        return f"{free:g} of {total:g} GiB of main memory are free: {fitting} (on CPU it is a share of main memory)."
    if "DefaultCPUAllocator" in text or "allocation is less than requested memory for kv" in text:
        return "Main memory is too small: lower VLLM_CPU_KVCACHE_SPACE (environment, GiB), or end other programs."
    if re.search(r"Failed core proc\(s\): .*: -9\b", text):
        return "The engine's process was killed, which Linux does when main memory runs out (see dmesg)."
    return None


_MORE_ROOM = "a higher --gpu-memory-utilization, more GPUs by --tensor-parallel-size"


def _fitting(free: float, total: float, otherwise: str) -> str:
    """The largest share of memory that would fit, with a little to spare; where that is next to nothing, what else."""
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
    """The processes that hold memory of this machine's GPUs, without this one; empty where that cannot be read."""
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
    """The readings of an initialised NVML.

    Raises:
        NVMLError: the driver refuses.
    """
    for gpu in range(nvml.nvmlDeviceGetCount()):
        device = nvml.nvmlDeviceGetHandleByIndex(gpu)
        for process in nvml.nvmlDeviceGetComputeRunningProcesses(device):
            used = process.usedGpuMemory
            yield Holder(gpu, process.pid, _name(process.pid), None if used is None else used // _MIB)


def _name(pid: int) -> str:
    """A process as `ps` shows it, shortened; one of another container cannot be seen."""
    try:
        process = psutil.Process(pid)
        return " ".join(process.cmdline())[:60] or process.name()
    except (psutil.Error, ValueError):
        return "not visible from here"
