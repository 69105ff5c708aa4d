"""What only unit tests share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _few_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the figures of reports, which take 0.2 s each, unless a test is marked as one that looks at them."""
    if request.node.get_closest_marker("figures") is None:
        monkeypatch.setattr("selfinstruct.report.page._figures", lambda _: {})


@pytest.fixture(autouse=True)
def _no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a training's command be written as for a machine without a GPU. Counting them would import torch."""
    monkeypatch.setattr("tuning.training.launch.num_gpus", lambda: 0)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let fsync do nothing. What survives a loss of power is tested in `tests/faults`, on a disk made up for it."""
    monkeypatch.setattr("os.fsync", lambda _: None)
