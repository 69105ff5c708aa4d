"""Go on without a GPU that is dead for good, as long as others work.

An engine on eight GPUs does not start when one of them has failed, or when another program holds its memory. So after a
failed start each GPU is tried by itself, and those that cannot be used are hidden from the next start.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, MutableMapping, Sequence

from selfinstruct.hardware import Gpu
from selfinstruct.text import GIB

_CPU_CORES = "VLLM_CPU_OMP_THREADS_BIND"
_VISIBLE = "CUDA_VISIBLE_DEVICES"
_LONGEST_TRY_S = 120.0
_CUDA_CONTEXT = GIB
"""Bytes that the program which tries a GPU takes of it."""

# One product shows that the GPU computes.
_TRY = """
import sys, torch
free, total = torch.cuda.mem_get_info(0)
ones = torch.ones(64, 64, device="cuda:0")
assert (ones @ ones)[0, 0].item() == 64
assert free + int(sys.argv[2]) >= float(sys.argv[1]) * total, "held by another program"
"""


def hide_unusable(
    gpus: Sequence[Gpu],
    share: float,
    *,
    usable: Callable[[Sequence[str], float], list[str]] | None = None,
    environ: MutableMapping[str, str] | None = None,
) -> list[str]:
    """Hide from the engines that start next the GPUs that cannot be used.

    Args:
        gpus: those that the driver lists.
        share: of a GPU's memory that an engine asks for.
        usable: returns which of these names of CUDA_VISIBLE_DEVICES work; default: each is tried.
        environ: the environment that the engines inherit; default: this process's.

    Returns:
        Those that are left, by their names in CUDA_VISIBLE_DEVICES; empty if nothing changed: all work, or none.
    """
    environ = os.environ if environ is None else environ
    listed = [name.strip() for name in environ.get(_VISIBLE, "").split(",") if name.strip()]
    names = listed or [gpu.index for gpu in gpus]
    if not listed:
        environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # the driver's numbers
    left = (usable or try_each)(names, share)
    # Without a list CUDA counts from 0, also where the driver no longer lists a GPU in between.
    if not left or left == (listed or [str(number) for number in range(len(gpus))]):
        return []
    environ[_VISIBLE] = ",".join(left)
    return left


def for_each_replica(gpus: Sequence[Gpu], replicas: int, per_replica: int) -> list[dict[str, str]]:
    """Return for each replica the variables that let its process see its own GPUs alone, or share the CPU.

    Args:
        gpus: those of this machine that may be used; none on a CPU, whose cores vLLM would give to each of them.
        replicas: how many there are.
        per_replica: GPUs of each.
    """
    if not gpus:
        if _CPU_CORES in os.environ:
            return [{}] * replicas
        threads = max(1, len(os.sched_getaffinity(0)) // replicas)
        return [{_CPU_CORES: "nobind", "OMP_NUM_THREADS": str(threads)}] * replicas
    listed = [name.strip() for name in os.environ.get(_VISIBLE, "").split(",") if name.strip()]
    names = listed or [gpu.index for gpu in gpus]
    order = {} if listed else {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}  # the driver's numbers
    own = [names[number * per_replica : (number + 1) * per_replica] for number in range(replicas)]
    return [{_VISIBLE: ",".join(each), **order} for each in own]


def try_each(names: Sequence[str], share: float) -> list[str]:
    """Return the GPUs on which a program can compute, and whose memory is free.

    Args:
        names: as CUDA_VISIBLE_DEVICES takes them.
        share: of the memory that must be free.
    """
    command = [sys.executable, "-c", _TRY, str(share), str(_CUDA_CONTEXT)]
    programs = {
        name: subprocess.Popen(
            command, env={**os.environ, _VISIBLE: name}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for name in names
    }
    deadline = time.monotonic() + _LONGEST_TRY_S
    for program in programs.values():
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.wait(max(0.0, deadline - time.monotonic()))
        if program.returncode is None:
            program.kill()  # And no waiting: it may hang in the driver.
    return [name for name, program in programs.items() if program.returncode == 0]
