"""What a start asks of its engine, and what is said and measured while nothing is committed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.engines.base import Request
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.generation import generate as generation
from selfinstruct.generation import progress
from selfinstruct.generation.progress import GenerationProgress, still
from selfinstruct.generation.traffic import Traffic
from selfinstruct.records import Completion
from selfinstruct.run.state import RunState
from tests.conftest import journal_lines, run_scripted, script


def test_tokens_are_counted_by_kind() -> None:
    traffic = Traffic()
    traffic.note("proposal", Completion("", "stop", 100, 20, cached_tokens=64))
    traffic.note("proposal", Completion("", "stop", 100, 30, cached_tokens=0))
    traffic.note("answer", Completion("", "stop", 10, 5))
    row = traffic.measured(in_flight=20, capacity=16)
    assert (row["running"], row["waiting"]) == (16, 4)
    assert row["read"] == {"proposal": 200, "answer": 10} and row["written"] == {"proposal": 50, "answer": 5}
    assert row["cached"] == {"proposal": 64} and row["prompt_tokens_per_s"] > 0
    assert traffic.measured(0, 16)["prompt_tokens_per_s"] == 0, "since the last row"
    assert "cached" not in Traffic().measured(0, 16)


def test_a_run_measures_and_its_journal_does_not(make_config: Any, tmp_path: Path) -> None:
    def answer(request: Request) -> Completion:
        found = script(request)
        return Completion(found.text, found.finish_reason, 50, found.completion_tokens, cached_tokens=40)

    state = run_scripted(make_config(), ScriptedEngine(answer))
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    used = {kind: usage for kind, usage in state.usage.items() if usage.requests}
    assert last["read"] == {kind: usage.prompt_tokens for kind, usage in used.items()}
    assert last["written"] == {kind: usage.completion_tokens for kind, usage in used.items()}
    assert last["cached"]["proposal"] == 40 * used["proposal"].requests
    assert {"running", "waiting", "driver_cpu", "prompt_tokens_per_s", "elapsed_s"} <= last.keys()
    assert "cached_tokens" not in json.dumps(journal_lines(tmp_path / "run"))


class Printed:
    """Stands for the console: an event for each text that is waited for."""

    is_terminal = False

    def __init__(self, awaited: str) -> None:
        self._awaited = awaited
        self.seen = asyncio.Event()

    def print(self, text: Any = "", **_: Any) -> None:
        if self._awaited in str(text):
            self.seen.set()


def test_a_line_is_printed_while_nothing_is_committed(make_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = Printed("0/30 accepted")

    class Slow(ScriptedEngine):
        async def generate(self, request: Request) -> Completion:
            await asyncio.wait_for(printed.seen.wait(), 60)
            return await super().generate(request)

    monkeypatch.setattr(progress, "console", printed)
    monkeypatch.setattr(generation, "_METRICS_INTERVAL_S", 0.01)
    monkeypatch.setattr(
        generation, "GenerationProgress", lambda state, flight: GenerationProgress(state, flight, interval=0.01)
    )
    assert run_scripted(make_config(filters={"is_task": "off"}), Slow(script)).complete


def test_what_is_waited_for_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wait() -> None:
        printed = Printed("still starting the engine")
        monkeypatch.setattr(progress, "console", printed)
        async with still("starting the engine", interval=0.01):
            await asyncio.wait_for(printed.seen.wait(), 60)

    asyncio.run(wait())


def test_no_line_comes_before_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = Printed("")
    monkeypatch.setattr(progress, "console", printed)
    GenerationProgress(RunState(), lambda: 0, interval=1000.0).tick()
    assert not printed.seen.is_set()
