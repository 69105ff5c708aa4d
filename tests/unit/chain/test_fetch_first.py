"""The chain has its models before its first stage begins."""

from __future__ import annotations

from typing import Any

import pytest

from selfinstruct.chain import chain
from selfinstruct.errors import ConfigError


def test_models_are_fetched_before_anything_is_started(make_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(*_: Any) -> None:
        raise ConfigError("not fetched")

    monkeypatch.setattr(chain, "fetch_models", fetch)
    for later in ("stage", "_plan", "_generate"):
        monkeypatch.setattr(chain, later, lambda *_: pytest.fail("a stage has begun"))
    with pytest.raises(ConfigError, match="not fetched"):
        chain._run_stages(make_config(), None, False, lambda: 0.0)  # type: ignore[arg-type]
