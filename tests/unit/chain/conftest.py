"""The chain's stages are scripted in these tests, and so are its models: none is fetched."""

from __future__ import annotations

import pytest

from selfinstruct.engines import hub


@pytest.fixture(autouse=True)
def nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "whole_model", lambda name, revision=None: name)
