"""The time that a run still takes, from what it has done."""

from __future__ import annotations

from typing import Any

import pytest

from selfinstruct.generation import progress as progress_module
from selfinstruct.generation.progress import GenerationProgress


class Going:
    """A state of a run that writes 100 tokens a second; tests set the rest."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.completion_tokens = 0
        self.pool: list[Any] = []
        self.num_instances = 0
        self.rejected: Any = {}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    return now


def seconds_left(clock: list[float], state: Going, accepted: list[int]) -> list[float | None]:
    """Let a second pass for each number; return what is said to be left after each."""
    progress = GenerationProgress(state, lambda: 0)  # type: ignore[arg-type]
    said = []
    for number in accepted:
        clock[0] += 1.0
        state.completion_tokens += 100
        state.pool = [None] * number
        said.append(progress.rates().get("left_s"))
    return said


def test_waves_do_not_move_it_far(clock: list[float]) -> None:
    """A window of instructions is accepted within ten seconds; then, for 40, instances are written."""
    waves = [100 * wave + min(100, 10 * (second + 1)) for wave in range(8) for second in range(50)]
    said = seconds_left(clock, Going(1000), waves)
    for second in range(100, 400):
        left = said[second]
        assert left is not None and 0.6 < left / (499 - second) < 1.7


def test_it_follows_a_pool_that_fills(clock: list[float]) -> None:
    fast = [10 * second for second in range(1, 51)]
    slow = [500 + second for second in range(1, 101)]
    said = seconds_left(clock, Going(1000), fast + slow)
    assert said[49] == pytest.approx(50, rel=0.1)
    assert said[-1] == pytest.approx(400, rel=0.1)


def test_the_history_of_a_night_is_short(clock: list[float]) -> None:
    state = Going(10**9)
    progress = GenerationProgress(state, lambda: 0)  # type: ignore[arg-type]
    for second in range(20_000):
        clock[0] += 1.0
        state.completion_tokens += 10_000
        state.pool = range(second)  # type: ignore[assignment]
        progress.rates()
    assert len(progress._history) < 6_000


def test_nothing_is_said_before_the_first_and_after_the_last(clock: list[float]) -> None:
    assert seconds_left(clock, Going(5), [0, 0, 5]) == [None, None, None]


def test_a_run_that_goes_on_counts_what_was_before(clock: list[float]) -> None:
    state = Going(100)
    state.completion_tokens, state.pool = 10_000, [None] * 50  # 200 for each
    assert seconds_left(clock, state, [50]) == [pytest.approx(50 * 202 / 100, rel=0.01)]
