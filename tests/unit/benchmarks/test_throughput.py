"""The benchmark of throughput: which requests are asked again, in which order, and what its table says."""

from __future__ import annotations

import argparse
from collections import Counter

import pytest

from benchmarks.throughput import OF_A_RUN, in_lock_step, one_turn, table
from selfinstruct.config.section import Sampling
from selfinstruct.engines.base import Request
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.errors import EngineError
from tests.conftest import script


def test_lock_step_asks_kind_by_kind_in_batches() -> None:
    keys = ["proposal/0", "classification/p000000-00", "proposal/1", "instances/p000000-00", "proposal/2"]
    requests = [Request(key, "text", Sampling()) for key in keys]
    assert [[request.key for request in batch] for batch in in_lock_step(requests, 2)] == [
        ["proposal/0", "proposal/1"],
        ["proposal/2"],
        ["classification/p000000-00"],
        ["instances/p000000-00"],
    ]


def test_questions_about_seeds_are_no_requests_of_a_run() -> None:
    assert OF_A_RUN.match("proposal/7") and OF_A_RUN.match("is_task/p000007-01")
    assert not OF_A_RUN.match("is_task/calibration/3") and not OF_A_RUN.match("classification/seed_task_3")


def test_efficiency_is_that_of_each_turn() -> None:
    def turn(run: float, best: float) -> dict[str, object]:
        seconds = {"run": run, "at once": best, "lock step": 4 * best}
        return {"requests": 10, **{way: {"tokens": 100, "seconds": took} for way, took in seconds.items()}}

    lines = list(table([turn(2.0, 1.0), turn(1.25, 1.0), turn(10.0, 8.0)]))
    assert lines[-3].endswith("| 80.0% (50.0% to 80.0%) |") and lines[-1].endswith("| 25.0% (25.0% to 25.0%) |")


def test_a_turn_asks_the_requests_of_the_run_in_all_three_ways() -> None:
    class Resettable:
        resets = 0

        async def reset_prefix_cache(self) -> None:
            self.resets += 1

    engines: list[ScriptedEngine] = []

    async def start() -> ScriptedEngine:
        engines.append(ScriptedEngine(script))
        engines[0]._llm = Resettable()  # type: ignore[attr-defined]
        return engines[0]

    arguments = argparse.Namespace(model="demo", context=2048, places=32, instructions=6)
    found = one_turn(arguments, start)
    keys = Counter(request.key for request in engines[0].history if OF_A_RUN.match(request.key))
    assert found["accepted"] == 6 and found["requests"] == sum(n == 3 for n in keys.values())
    assert found["run"]["tokens"] == found["at once"]["tokens"] == found["lock step"]["tokens"] > 0
    assert engines[0]._llm.resets == 2  # type: ignore[attr-defined]


def test_an_engine_that_dies_in_another_way_is_closed_all_the_same() -> None:
    class Dying:
        async def reset_prefix_cache(self) -> None:
            engines[0]._script = lambda request: EngineError("died")

    engines: list[ScriptedEngine] = []

    async def start() -> ScriptedEngine:
        engines.append(ScriptedEngine(script))
        engines[0]._llm = Dying()  # type: ignore[attr-defined]
        return engines[0]

    with pytest.raises(EngineError, match="died"):
        one_turn(argparse.Namespace(model="demo", context=2048, places=32, instructions=6), start)
    assert engines[0]._closed
