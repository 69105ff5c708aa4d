"""The command that serves a model. `tests/integration/test_serving.py` starts it."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from selfinstruct.engines.serving import serve_command


def test_the_distribution_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1")
    assert serve_command(Path("runs/a b")) == "vllm serve 'runs/a b'"

    def none(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", none)
    assert serve_command(Path("runs/a b")) == "python -m vllm.entrypoints.openai.api_server --model 'runs/a b'"
