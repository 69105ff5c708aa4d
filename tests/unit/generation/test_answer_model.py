"""Another model answers (`answer.model`): it starts when the generator has ended, and has nothing else to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.chain import chain
from selfinstruct.cli.shared import answering_starter
from selfinstruct.config.schema import Config
from selfinstruct.engines.base import Engine, Request
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.errors import EngineError, StoppedError
from selfinstruct.generation.generate import generate
from selfinstruct.records import Completion
from selfinstruct.replay.refilter import refilter
from selfinstruct.replay.status import status
from tests.conftest import journal_lines, replayed, run_scripted, script
from tests.faulty_server import MODEL, FaultyServer, now_and_then

pytestmark = pytest.mark.whole


def better(request: Request) -> Completion:
    assert request.key.startswith("answer/"), request.key
    return Completion(f"Gladly: {script(request).text.strip()}", "stop", 9, 30)


def no_answers(request: Request) -> Completion:
    assert not request.key.startswith("answer/"), request.key
    return script(request)


def generator(**options: Any) -> ScriptedEngine:
    return ScriptedEngine(no_answers, **options)


def answerer(**options: Any) -> ScriptedEngine:
    return ScriptedEngine(better, has_chat_template=True, **options)


@pytest.fixture
def config_of(make_config: Any, tmp_path: Path) -> Any:
    def config_of(name: str = "run", **options: Any) -> Config:
        section = {"num_instructions": 12, "answer": {"model": "another"}}
        config: Config = make_config(output_dir=str(tmp_path / name), **section | options)
        return config

    return config_of


def as_set(run: Path) -> list[str]:
    return sorted(map(json.dumps, journal_lines(run)))


def test_the_generator_writes_inputs_and_another_model_answers_them(config_of: Any, tmp_path: Path) -> None:
    first, second = generator(), answerer()
    state = run_scripted(config_of(), first, second)
    assert state.complete and state.num_inputs == state.num_answers == len(second.history) > 5
    # A base model generates, by completion; the other one is asked through its chat template.
    assert all(isinstance(r.prompt, str) for r in first.history)
    assert all(isinstance(r.prompt, list) for r in second.history)
    kinds = [line["kind"] for line in journal_lines(tmp_path / "run")]
    assert kinds.index("answer") > max(k for k, kind in enumerate(kinds) if kind != "answer")
    outputs = {i.output for name in state.inputs for i in state.instances[name]}
    assert outputs and all(output.startswith("Gladly: ") for output in outputs)
    assert journal_lines(tmp_path / "run")[0]["identity"]["answer"]["model"] == "another"
    chain.export(config_of())
    counts = status(tmp_path / "run").counts.answers
    assert counts is not None and (counts.pending, counts.total) == (0, state.num_inputs)


def test_each_model_starts_only_where_it_has_something_to_do(config_of: Any, tmp_path: Path) -> None:
    started: list[str] = []

    def starting(name: str, engine: ScriptedEngine) -> Any:
        async def start() -> Engine:
            assert not started or started[-1] == name or name == "answers" or closed, "two engines at once"
            started.append(name)
            return engine

        return start

    closed: list[int] = []
    run_scripted(config_of("whole"), generator(), answerer())
    raw = (tmp_path / "whole" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    first_answer = next(k for k, line in enumerate(raw) if b'"kind":"answer"' in line)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "journal.jsonl").write_bytes(b"".join(raw[: first_answer + 2]))
    state = generate(config_of(), starting("generates", generator()), starting("answers", answerer()))
    assert started == ["answers"] and state.complete
    generate(config_of(), starting("generates", generator()), starting("answers", answerer()))
    assert started == ["answers"], "nothing is left"
    closed.append(1)
    more = generate(config_of(num_instructions=15), starting("generates", generator()), starting("answers", answerer()))
    assert started == ["answers", "generates", "answers"] and more.complete and len(more.pool) == 15


def test_stops_and_latencies_change_nothing(config_of: Any, tmp_path: Path) -> None:
    run_scripted(config_of("whole"), generator(), answerer())
    raw = (tmp_path / "whole" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for stop in range(1, len(raw), 4):
        (tmp_path / f"stopped-{stop}").mkdir()
        (tmp_path / f"stopped-{stop}" / "journal.jsonl").write_bytes(b"".join(raw[:stop]))
        config = config_of(f"stopped-{stop}")
        run_scripted(config, generator(latency=0.002, seed=stop), answerer(latency=0.002, seed=stop))
        assert as_set(tmp_path / f"stopped-{stop}") == as_set(tmp_path / "whole")
    config = config_of("whole")
    refilter(tmp_path / "whole", tmp_path / "same", config.filters)
    assert journal_lines(tmp_path / "same")[1:] == journal_lines(tmp_path / "whole")[1:]


def test_a_model_that_does_not_start_leaves_a_run_that_goes_on(config_of: Any, tmp_path: Path) -> None:
    async def first() -> Engine:
        return generator()

    async def lost() -> Engine:
        raise EngineError("no memory")

    with pytest.raises(EngineError, match="no memory"):
        generate(config_of(), first, lost)
    counts = status(tmp_path / "run").counts
    assert not counts.complete and counts.answers is not None and counts.answers.pending == counts.answers.total > 0
    assert run_scripted(config_of(), generator(), answerer()).complete


def test_a_deadline_leaves_time_for_the_second_model(config_of: Any, tmp_path: Path) -> None:
    """A clock that goes on by a second with each look: proposing ends long before the deadline."""
    now = [1_000_000.0]

    def clock() -> float:
        now[0] += 0.25
        return now[0]

    with pytest.raises(StoppedError, match=r"needed for what was accepted|deadline"):
        run_scripted(
            config_of(num_instructions=5000, limits={"time_limit": "10m"}), generator(), answerer(), clock=clock
        )
    state = replayed(journal_lines(tmp_path / "run"))
    assert state.pool and state.pending() == [], "all that was accepted is answered"


def test_a_server_answers_as_a_model_here_does_whatever_fails_in_between(config_of: Any, tmp_path: Path) -> None:
    def gladly(request: Request) -> Completion:
        asked = request.prompt[-1]["content"] if isinstance(request.prompt, list) else request.prompt
        return Completion(f"Gladly, {sum(map(ord, asked))}: {asked.split()[-1]}", "stop", 9, 30)

    config = config_of("here", answer={"model": MODEL})
    run_scripted(config, generator(), ScriptedEngine(gladly, has_chat_template=True))
    faults = now_and_then("reset", "busy", "half", share=0.3, most=6)
    with FaultyServer(gladly, faults, chat=True) as server:
        there = config_of("there", answer={"model": MODEL, "endpoint": server.url})
        started = answering_starter(there)
        assert started is not None

        async def first() -> Engine:
            return generator()

        state = generate(there, first, started)
    assert state.complete and state.num_answers > 5
    asked = [body for body in server.bodies if 1 not in (body.get("max_tokens"), body.get("max_completion_tokens"))]
    assert len(asked) == state.num_answers and all(len(body["messages"]) == 1 for body in asked)
    assert as_set(tmp_path / "there") == as_set(tmp_path / "here")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"answer": {"endpoint": "http://there/v1"}}, "name it in answer.model"),
        ({"answering": "inline"}, "`answering: inline` lets the generator answer"),
        ({"proposer_weights": "adaptive"}, "this one answers after all proposals"),
    ],
)
def test_what_cannot_be_is_refused(config_of: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config_of(**options)


def test_the_server_that_answers_is_no_part_of_what_a_run_is(config_of: Any) -> None:
    here, there = config_of(), config_of(answer={"model": "another", "endpoint": "http://there/v1"})
    assert here.identity() == there.identity() and there.answer.endpoint == ("http://there/v1",)
