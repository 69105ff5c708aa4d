"""What the machine has: GPUs, memory, disk. It is only read; no GPU memory is used.

A process that asks CUDA itself keeps some hundred MiB of each GPU until it ends, and `selfinstruct run` lives as long
as its stages: so the driver's own tool is asked.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_COLUMNS = "--query-gpu=index,uuid,name,memory.total,memory.free,compute_cap", "--format=csv,noheader,nounits"


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU; sizes in bytes.

    Attributes:
        name: of its kind.
        total: its memory.
        free: memory that programs can still take.
        capability: CUDA's number of its generation, 9.0 for Hopper; 0: not known.
        index: the driver's number of it.
    """

    name: str
    total: int
    free: int
    capability: float = 0.0
    index: str = "0"


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a machine has.

    Attributes:
        gpus: that this process may use.
        free_memory: that programs can still take, in bytes.
        total_memory: of the machine, in bytes.
        cpu_bf16: whether the processor multiplies bfloat16; others emulate it.
    """

    gpus: tuple[Gpu, ...]
    free_memory: int
    total_memory: int
    cpu_bf16: bool = True

    @property
    def gpu_bytes(self) -> int:
        """Return the memory of the smallest GPU, which bounds what each of several can be given; 0 without a GPU."""
        return min((gpu.total for gpu in self.gpus), default=0)

    @classmethod
    def here(cls) -> Hardware:
        """Return this machine's, now."""
        import psutil

        memory = psutil.virtual_memory()
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        listing = _nvidia_smi("-L") if "MIG-" in (visible or "") else ""
        gpus = tuple(visible_gpus(_nvidia_smi(*_COLUMNS), visible, listing))
        return cls(gpus, memory.available, memory.total, multiplies_bf16(_cpuinfo()))


def visible_gpus(table: str, visible: str | None, listing: str = "") -> Iterator[Gpu]:
    """Yield the GPUs of nvidia-smi's CSV that CUDA_VISIBLE_DEVICES allows, in its order.

    As for CUDA, an entry that names no GPU ends the list, and one that names a GPU again leaves none. Of several slices
    of GPUs (MIG) a program sees the first alone.

    >>> list(
    ...     visible_gpus("0, GPU-a1, NVIDIA H100, 81559, 80995, 9.0\\n1, GPU-b2, NVIDIA H100, 81559, 402, 9.0\\n", "0")
    ... )
    [Gpu(name='NVIDIA H100', total=85520809984, free=84929413120, capability=9.0, index='0')]

    Args:
        table: lines of index, uuid, name, MiB in total, MiB free, and compute capability.
        visible: the variable's value; None: all of them.
        listing: of `nvidia-smi -L`, which names the slices.
    """
    rows = [[cell.strip() for cell in row.split(",")] for row in table.splitlines()]
    rows = [cells for cells in rows if len(cells) == 6]
    rows += _slices(listing, {cells[1]: cells[5] for cells in rows})
    for index, _, name, total, free, capability in rows if visible is None else _chosen(rows, visible):
        if total.isdigit() and free.isdigit():  # "[N/A]" in MIG mode, or where it shares the machine's memory.
            known = re.fullmatch(r"\d+\.\d+", capability)
            yield Gpu(name, int(total) << 20, int(free) << 20, float(capability) if known else 0.0, index)


def _chosen(rows: list[list[str]], visible: str) -> list[list[str]]:
    chosen: list[list[str]] = []
    for want in map(str.strip, visible.split(",")):
        row = next((row for row in rows if row[0] == want or (want and row[1].startswith(want))), None)
        if row is None:
            break
        if row in chosen:
            return []
        chosen.append(row)
        if want.startswith("MIG-"):
            break
    return chosen


def _slices(listing: str, capabilities: dict[str, str]) -> Iterator[list[str]]:
    """Yield the slices of GPUs as rows of the table. A slice's name says its GB, of which 5 % are reserved."""
    name = capability = ""
    for line in listing.splitlines():
        if gpu := re.match(r"GPU \d+: (.+) \(UUID: (.+)\)", line):
            name, capability = gpu[1], capabilities.get(gpu[2], "")
        elif part := re.match(r"\s+MIG (\S*?(\d+)gb\S*)\s+Device\s+\d+: \(UUID: (MIG-.+)\)", line):
            size = str(int(part[2]) * 973)
            yield [part[3], part[3], f"{name} MIG {part[1]}", size, size, capability]


def _nvidia_smi(*query: str) -> str:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ""
    try:
        return subprocess.run([tool, *query], capture_output=True, text=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def existing_parent(path: Path) -> Path:
    """Return `path`, or the nearest directory above it that exists."""
    path = path.expanduser().absolute()
    return next((folder for folder in (path, *path.parents) if folder.exists()), Path("/"))


def free_disk(path: Path) -> int:
    """Return the bytes that can be written where `path` is, or would be."""
    return shutil.disk_usage(existing_parent(path)).free


def processor() -> str:
    """Return the processor's name, as Linux knows it; elsewhere the kind of machine."""
    match = re.search(r"^model name\s*:\s*(.+)$", _cpuinfo(), re.M)
    return match[1] if match else platform.processor() or platform.machine()


def multiplies_bf16(cpuinfo: str) -> bool:
    """Return whether a processor has instructions for bfloat16, from Linux's list; True where it says nothing.

    >>> multiplies_bf16("flags : fpu avx2 avx512f avx512_vnni"), multiplies_bf16("flags : avx512f avx512_bf16")
    (False, True)
    """
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", cpuinfo, re.M)
    return flags is None or not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags[1].split())


def _cpuinfo() -> str:
    about = Path("/proc/cpuinfo")
    return about.read_text() if about.exists() else ""
