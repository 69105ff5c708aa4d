"""The time that a run still takes, from what it has done."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from selfinstruct.generation import progress as progress_module
from selfinstruct.generation.progress import GenerationProgress
from selfinstruct.run.usage import usage_by_kind


class Going:
    """A state of a run that writes 100 tokens a second; tests set the rest."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.usage = usage_by_kind()
        self.pool: Any = []
        self.instances: Any = []
        self.num_inputs = self.num_answers = self.num_instances = 0
        self.rejected: Any = Counter()
        self.failures: Any = Counter()

    @property
    def completion_tokens(self) -> int:
        return sum(usage.completion_tokens for usage in self.usage.values())

    def go_on(self, kind: str, number: int, tokens: int = 100) -> None:
        """Spend tokens on proposals or instances; so many are accepted or written then."""
        self.usage[kind].completion_tokens += tokens
        if kind == "proposal":
            self.pool = range(number)
        elif kind == "instances":
            self.instances = range(number)
        else:
            self.num_answers = number


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    return now


def seconds_left(clock: list[float], state: Going, seconds: list[tuple[str, int]]) -> list[float | None]:
    """Let a second pass for each kind of request and number; return what is said to be left after each."""
    progress = GenerationProgress(state, lambda: 0)  # type: ignore[arg-type]
    said = []
    for kind, number in seconds:
        clock[0] += 1.0
        state.go_on(kind, number)
        said.append(progress.rates().get("left_s"))
    return said


@pytest.mark.parametrize("size", [50, 100, 250])
def test_waves_do_not_move_it(clock: list[float], size: int) -> None:
    """A window of instructions is accepted, then their instances are written, which takes four times as long."""
    waves: list[tuple[str, int]] = []
    for first in range(0, 1000, size):
        waves += [("proposal", first + done) for done in range(10, size + 1, 10)]
        waves += [("instances", first + 10 * done // 4) for done in range(1, 4 * (size // 10) + 1)]
    said = seconds_left(clock, Going(1000), waves)
    for second in range(size // 10 + 5, 495):
        assert said[second] == pytest.approx(499 - second, rel=0.35, abs=5)


def test_the_instances_of_the_last_count(clock: list[float]) -> None:
    waves = [("proposal", 10 * second) for second in range(1, 11)] + [("instances", 4 * n) for n in range(1, 16)]
    state = Going(100)
    assert seconds_left(clock, state, waves)[-1] == pytest.approx(10, rel=0.1)
    line = GenerationProgress(state, lambda: 7).line()  # type: ignore[arg-type]
    assert "finishing instances" in line


def test_it_follows_a_pool_that_fills(clock: list[float]) -> None:
    fast = [("proposal", 10 * second) for second in range(1, 51)]
    slow = [("proposal", 500 + second) for second in range(1, 101)]
    state = Going(1000)
    state.instances = range(1000)
    said = seconds_left(clock, state, fast + slow)
    assert said[49] == pytest.approx(50, rel=0.1)
    assert said[-1] == pytest.approx(400, rel=0.1)


def test_answers_that_are_asked_for_one_by_one_count(clock: list[float]) -> None:
    state = Going(100)
    state.instances, state.num_inputs = range(100), 100
    said = seconds_left(clock, state, [("proposal", 100)] + [("answer", second) for second in range(1, 26)])
    assert said[0] is None, "no answer is there yet"
    assert said[-1] == pytest.approx(75, rel=0.1)


def test_the_history_of_a_night_is_short(clock: list[float]) -> None:
    state = Going(10**9)
    progress = GenerationProgress(state, lambda: 0)  # type: ignore[arg-type]
    for second in range(20_000):
        clock[0] += 1.0
        state.go_on("proposal", second, 10_000)
        progress.rates()
    assert len(progress._history) < 6_000


def test_nothing_is_said_before_the_first_and_after_the_last(clock: list[float]) -> None:
    seconds = [("proposal", 0), ("proposal", 0), ("proposal", 5), ("instances", 5)]
    assert seconds_left(clock, Going(5), seconds) == [None] * 4


def test_a_run_that_goes_on_counts_what_was_before(clock: list[float]) -> None:
    state = Going(100)
    state.go_on("proposal", 50, 10_000)  # 200 for each
    state.instances = range(100)
    assert seconds_left(clock, state, [("proposal", 50)]) == [pytest.approx(50 * 202 / 100, rel=0.01)]


def test_the_display_reads_while_the_first_proposal_is_committed(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread draws it: what is committed after its last sample is there already when it counts."""
    state = Going(100)
    progress = GenerationProgress(state, lambda: 0)  # type: ignore[arg-type]
    monkeypatch.setattr(progress, "_sample", lambda: None)
    state.go_on("proposal", 5)
    state.go_on("instances", 5)
    assert progress.line().startswith("generate: 5/100 accepted")
