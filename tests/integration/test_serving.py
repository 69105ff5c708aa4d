"""The command that serves a model names a program that starts on this machine."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from selfinstruct.engines.serving import serve_command


@pytest.mark.integration
def test_the_program_starts() -> None:
    """`vllm serve` of the distribution for CPUs ends with a traceback before it reads its arguments."""
    program, *arguments = shlex.split(serve_command(Path("model")))
    python = sys.executable if program == "python" else str(Path(sys.executable).with_name(program))
    asked = [*arguments[:-2], "--help"] if program == "python" else [*arguments[:-1], "--help"]
    done = subprocess.run([python, *asked], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "--model" in done.stdout, done.stderr[-500:]
