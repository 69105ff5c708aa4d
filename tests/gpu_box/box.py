"""A GPU box made up at its edges: the driver's tool tells of GPUs, and the Hub's cache holds models without weights.

Nothing of the program is replaced: it runs as a user runs it, offline.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.gpu_box.families import FAMILIES
from tests.gpu_box.model_folder import full

_GPUS = {
    24: ("NVIDIA L4", 23034),
    80: ("NVIDIA H100 80GB HBM3", 81559),
    141: ("NVIDIA H200", 143771),
}
"""Name and MiB as nvidia-smi shows them, by what the GPU is sold as."""
_NVIDIA_SMI = """
import sys

asked = sys.argv[1].removeprefix("--query-gpu=").split(",")
for n in range(GPUS):
    told = {"index": n, "uuid": f"GPU-{n:02d}", "name": NAME, "memory.total": MEBIBYTES, "memory.free": MEBIBYTES - 500}
    print(", ".join(str((told | {"compute_cap": 9.0, "driver_version": "580.65.06"})[name]) for name in asked))
"""


@dataclass(frozen=True, slots=True)
class Box:
    """A machine with GPUs and models.

    Attributes:
        folder: where commands run; holds all that belongs to the box.
        environment: variables of the commands.
    """

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def make(cls, folder: Path, *, gpus: int, gigabytes: int, families: Iterable[str]) -> Box:
        """Make a box.

        Args:
            folder: an empty one.
            gpus: how many.
            gigabytes: of each, as it is sold: 24, 80 or 141.
            families: of which the Hub's cache holds the models.
        """
        name, mebibytes = _GPUS[gigabytes]
        tool = folder / "bin" / "nvidia-smi"
        tool.parent.mkdir(parents=True)
        tool.write_text(f"#!{sys.executable}\nGPUS, NAME, MEBIBYTES = {gpus}, {name!r}, {mebibytes}\n{_NVIDIA_SMI}")
        tool.chmod(0o755)
        for family in families:
            _cache(FAMILIES[family].hub, family, folder / "hub")
        changed = {
            "PATH": f"{tool.parent}:{os.environ['PATH']}",
            "HF_HUB_CACHE": str(folder / "hub"),
            "HF_HUB_OFFLINE": "1",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        kept = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        return cls(folder, kept | changed)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run the command line on the box."""
        whole = [sys.executable, "-m", "selfinstruct", *command]
        return subprocess.run(
            whole, capture_output=True, text=True, check=False, cwd=self.folder, env=dict(self.environment)
        )


def _cache(name: str, family: str, cache: Path) -> None:
    """Put a model into the Hub's cache, as `hf download` leaves it."""
    repository, commit = cache / f"models--{name.replace('/', '--')}", "0123456789abcdef" * 2 + "01234567"
    full(FAMILIES[family], repository / "snapshots" / commit, weights=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
