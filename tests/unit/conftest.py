"""What only unit tests share. Fixtures of each test would add a tenth to the time of all tests together."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from selfinstruct.report import page

_figures = page._figures
_drawing = False


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Note whether the test is marked as one that looks at the figures of a report."""
    global _drawing
    _drawing = item.get_closest_marker("figures") is not None


@pytest.fixture(autouse=True, scope="module")
def _only_what_is_tested() -> Iterator[None]:
    """Leave out what takes long, and what no unit test looks at.

    The figures of reports take 0.2 s each. A training's command is written as for a machine without a GPU: counting
    them would import torch. `fsync` does nothing: what survives a loss of power is tested in `tests/faults`, on a disk
    made up for it.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(page, "_figures", lambda data: _figures(data) if _drawing else {})
        patched.setattr("tuning.training.launch.num_gpus", lambda: 0)
        patched.setattr("os.fsync", lambda _: None)
        yield
