"""What only unit tests share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _few_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the figures of reports, which take 0.2 s each, unless a test is marked as one that looks at them."""
    if request.node.get_closest_marker("figures") is None:
        monkeypatch.setattr("selfinstruct.report.page._figures", lambda _: {})
