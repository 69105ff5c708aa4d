"""The parts of each step of the funnel add up, whatever a run did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from selfinstruct.engines.base import Request
from selfinstruct.engines.scripted import Answer, ScriptedEngine
from selfinstruct.records import Completion, OpenTurn
from selfinstruct.report.funnel import Step
from selfinstruct.report.generation_stats import gather_stats
from tests.conftest import examples, run_scripted, script
from tests.journals import Plan, make_run, plans


def steps(run: Path) -> list[Step]:
    """Return the steps of a run, after a look at their sums."""
    found = gather_stats(run / "journal.jsonl", {}, []).funnel
    for step in found:
        assert all(part.count >= 0 for part in step.parts), step
        assert step.total == sum(part.count for part in step.parts), step
    return found


@given(plan=plans)
@settings(max_examples=examples(4), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_of_any_run(make_config: Any, tmp_path_factory: pytest.TempPathFactory, plan: Plan) -> None:
    run, _ = make_run(plan, tmp_path_factory.mktemp("funnel"), make_config)
    steps(run)


def test_instructions_that_nobody_classifies(make_config: Any, tmp_path: Path) -> None:
    """A whole user's turn needs no input: it is asked neither what kind it is nor for instances."""

    def turn(request: Request) -> Completion:
        if request.key.startswith("proposal/") and isinstance(request.prompt, OpenTurn):
            number = int(request.key.partition("/")[2])
            return Completion(f"What is sold at stall {number} of market {number * 7}?", "stop", 5, 9)
        return script(request)

    options = {"prompting": "chat", "proposers": {"list": 1, "template": 3}, "filters": {"threshold": 0.95}}
    config = make_config(num_instructions=12, **options)
    state = run_scripted(config, ScriptedEngine(turn, has_chat_template=True))
    assert 0 < state.num_whole < 12
    _, _, accepted, gets_instances, *_ = steps(tmp_path / "run")
    assert accepted.total == 12 and gets_instances.total == sum(part.count for part in accepted.parts if part.kept)
    assert {part.name: part.count for part in accepted.parts}[
        "not classified: with an instance, or without input"
    ] == state.num_whole


def test_a_request_that_was_made_again_counts_once(make_config: Any, tmp_path: Path) -> None:
    def first_unreadable(request: Request) -> Answer:
        kind = request.key.partition("/")[0]
        if kind in ("classification", "instances") and "/again" not in request.key:
            return Completion("", "stop", 10, 1)
        return script(request)

    state = run_scripted(make_config(max_retries=1, answering="inline"), ScriptedEngine(first_unreadable))
    assert state.tries.asked_again["instances"] > 0 < state.tries.asked_again["classification"]
    steps(tmp_path / "run")
