"""Budgets and deadlines of generation: when they stop it, what is still finished, and how the run goes on."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.chain import chain
from selfinstruct.clock import Reserve
from selfinstruct.config.load import dump_yaml, load_config
from selfinstruct.config.schema import Config
from selfinstruct.engines.base import Engine, Request, RequestFailed
from selfinstruct.engines.scripted import Answer, ScriptedEngine
from selfinstruct.errors import EngineError, StoppedError
from selfinstruct.generation import pipeline
from selfinstruct.generation.generate import generate
from selfinstruct.generation.stop_rules import reason
from selfinstruct.records import Completion
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.lines import from_json
from tests.conftest import SYLLABLES, journal_lines, replayed, run_scripted, script

START = 1_800_000_000.0


class Clock:
    """A clock that its test moves; every answer of `engine` takes the given seconds."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now

    def engine(self, seconds: float = 1.0, answers: Any = script) -> ScriptedEngine:
        def answer(request: Request) -> Answer:
            self.now += seconds
            return answers(request)  # type: ignore[no-any-return]

        return ScriptedEngine(answer)


def controls(run: Path) -> list[dict[str, Any]]:
    return [line for line in journal_lines(run) if line["kind"] == "control"]


def without_controls(run: Path) -> list[str]:
    return sorted(json.dumps(line) for line in journal_lines(run) if line["kind"] not in ("control", "run"))


def exported(config: Config) -> dict[str, bytes]:
    chain.export(config)
    folder = Path(str(config.output_dir)) / "dataset"
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def whole(make_config: Any, tmp_path: Path, **values: Any) -> Config:
    """The same run, never stopped."""
    config = make_config(output_dir=str(tmp_path / "whole"), **values)
    run_scripted(config)
    return config  # type: ignore[no-any-return]


# ----------------------------------------------------------------------------------------------------------- budgets


@pytest.mark.parametrize("limits", [{"max_requests": 25}, {"max_tokens_total": 700}])
def test_a_budget_stops_proposing_and_finishes_what_was_accepted(
    make_config: Any, tmp_path: Path, limits: dict[str, int]
) -> None:
    config = make_config(num_instructions=500, limits=limits)
    engine = ScriptedEngine(script)
    with pytest.raises(StoppedError, match=r"budget of .* is used up") as caught:
        run_scripted(config, engine)
    assert caught.value.exit_code == 3
    (name, value) = next(iter(limits.items()))
    assert f"larger --{name.replace('_', '-')}" in str(caught.value)
    lines = journal_lines(tmp_path / "run")
    state = replayed(lines)
    assert [c["event"] for c in controls(tmp_path / "run")] == ["budget"]
    stop = controls(tmp_path / "run")[0]
    proposals = [line for line in lines if line["kind"] == "proposal"]
    assert (stop["limit"], stop["value"], stop["after_proposal"]) == (name, value, len(proposals) - 1)
    assert state.pending() == [] and 0 < len(state.pool) < 500
    spent = state.completion_tokens if name == "max_tokens_total" else len(engine.history)
    # A proposal at most, with its follow-ups, goes beyond; and no proposal was paid for in vain.
    most = 40 + 4 * 21 if name == "max_tokens_total" else 1 + 4 * 2
    assert value - most <= spent <= value + most
    assert len(engine.history) == sum(line["kind"] != "control" for line in lines) - 1


def test_a_budget_of_one_request_asks_one_proposal(make_config: Any, tmp_path: Path) -> None:
    with pytest.raises(StoppedError, match="budget of 1 requests"):
        run_scripted(make_config(limits={"max_requests": 1}))
    state = replayed(journal_lines(tmp_path / "run"))
    assert state.proposals == 1 and state.pending() == []


def test_a_budget_that_is_not_used_up_changes_nothing(make_config: Any, tmp_path: Path) -> None:
    config = make_config(limits={"max_requests": 10_000, "max_tokens_total": 10**7})
    assert run_scripted(config).complete
    assert exported(config) == exported(whole(make_config, tmp_path))
    assert journal_lines(tmp_path / "run") == journal_lines(tmp_path / "whole")


def test_the_same_budget_stays_stopped_and_a_larger_one_continues_to_the_same_end(
    make_config: Any, tmp_path: Path
) -> None:
    with pytest.raises(StoppedError):
        run_scripted(make_config(limits={"max_requests": 20}))
    before = (tmp_path / "run" / "journal.jsonl").read_bytes()
    engine = ScriptedEngine(script)
    with pytest.raises(StoppedError, match="budget of 20 requests"):
        run_scripted(make_config(limits={"max_requests": 20}), engine)
    assert not engine.history and (tmp_path / "run" / "journal.jsonl").read_bytes() == before
    with pytest.raises(StoppedError, match="budget of 40 requests"):
        run_scripted(make_config(limits={"max_requests": 40}))
    config = make_config()
    assert run_scripted(config).complete
    assert [c["event"] for c in controls(tmp_path / "run")] == ["budget", "resumed", "budget", "resumed"]
    assert exported(config) == exported(whole(make_config, tmp_path))
    assert without_controls(tmp_path / "run") == without_controls(tmp_path / "whole")


def test_budgets_stay_with_the_run_and_moments_do_not(make_config: Any, tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        run_scripted(make_config(limits={"max_requests": 20, "time_limit": "8h", "finish_by": "07:00"}))
    kept = load_config(tmp_path / "run" / "config.yaml", {}).limits
    assert (kept.max_requests, kept.time_limit, kept.finish_by) == (20, None, None)


# --------------------------------------------------------------------------------------------------------- deadlines


def test_a_deadline_stops_proposing_in_time_and_finishes_what_was_accepted(make_config: Any, tmp_path: Path) -> None:
    clock = Clock()
    config = make_config(num_instructions=500, limits={"time_limit": "60s"})
    with pytest.raises(StoppedError, match=r"the deadline, .* left no time to propose more") as caught:
        run_scripted(config, clock.engine(), clock=clock)
    assert caught.value.exit_code == 3 and "later deadline, or none" in str(caught.value)
    state = replayed(journal_lines(tmp_path / "run"))
    assert [c["event"] for c in controls(tmp_path / "run")] == ["deadline"]
    assert state.pending() == [] and state.pool
    assert START + 30 < clock.now <= START + 60


def test_a_deadline_leaves_the_reserve(make_config: Any, tmp_path: Path) -> None:
    clock = Clock()
    config = make_config(num_instructions=500, limits={"time_limit": "300s"})
    reserve = Reserve(seconds=100, seconds_per_instance=1.5)
    with pytest.raises(StoppedError, match="the deadline"):
        run_scripted(config, clock.engine(), clock=clock, reserve=reserve)
    state = replayed(journal_lines(tmp_path / "run"))
    assert state.num_instances > 20
    left = START + 300 - clock.now
    assert 100 + 1.5 * state.num_instances <= left < 100 + 1.5 * state.num_instances + 40


def test_the_evaluation_s_share_is_measured_while_generating(make_config: Any, tmp_path: Path) -> None:
    """An engine that takes 20 s to start, and about 17 tokens a second: two more starts and 850 tokens are 90 s."""
    clock = Clock()

    async def start() -> Engine:
        clock.now += 20
        return clock.engine()

    with pytest.raises(StoppedError, match="the deadline"):
        generate(
            make_config(num_instructions=500, limits={"time_limit": "250s"}),
            start,
            clock=clock,
            reserve=Reserve(engine_starts=2, tokens=850),
        )
    assert 70 < START + 250 - clock.now < 130


def test_a_drain_that_takes_too_long_is_left_for_another_time(make_config: Any, tmp_path: Path) -> None:
    """Follow-ups that suddenly take a minute each: at the deadline the run leaves, and continues later."""
    clock = Clock()

    def slow(request: Request) -> Answer:
        clock.now += 0 if request.key.startswith("proposal") else 60
        return script(request)

    config = make_config(num_instructions=500, limits={"time_limit": "150s"})
    with pytest.raises(StoppedError, match="still wait for their instances"):
        run_scripted(config, ScriptedEngine(slow), clock=clock)
    state = replayed(journal_lines(tmp_path / "run"))
    assert state.pending()
    assert clock.now < START + 150 + 12 * 60, "every answer that had arrived was waited for"
    asked = clock.engine()
    with pytest.raises(StoppedError):
        run_scripted(config, asked, clock=clock)  # A new time limit, from now on.
    assert asked.history[0].key.partition("/")[0] in ("classification", "instances")


def test_a_deadline_comes_also_while_no_answer_does(
    make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "_TICK_S", 0.001)
    clock = Clock()

    class Hanging(ScriptedEngine):
        async def generate(self, request: Request) -> Completion:
            if len(self.history) < 8:
                return await super().generate(request)
            clock.now += 10
            await asyncio.Event().wait()
            raise AssertionError

    config = make_config(num_instructions=500, limits={"time_limit": "30s"})
    with pytest.raises(StoppedError, match="deadline"):
        run_scripted(config, Hanging(script), clock=clock)


@pytest.mark.parametrize("limits", [{"finish_by": "2001-01-01T07:00"}, {"finish_by": "2001-01-01 07:00"}])
def test_a_deadline_in_the_past_starts_no_engine(make_config: Any, tmp_path: Path, limits: dict[str, str]) -> None:
    async def refuse() -> Engine:
        pytest.fail("an engine was started")

    with pytest.raises(StoppedError, match=r"has come\. Nothing has been generated"):
        generate(make_config(limits=limits), refuse)
    assert not (tmp_path / "run" / "journal.jsonl").exists()


def test_a_deadline_comes_also_while_the_engine_starts(make_config: Any, tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def start() -> Engine:
        try:
            await asyncio.sleep(600)
        finally:
            ended.set()
        pytest.fail("it was waited for")

    # The clock stands still: a busy machine does not use the time up before the start begins.
    with pytest.raises(StoppedError, match=r"has come\. Nothing has been generated"):
        generate(make_config(limits={"time_limit": "0.2s"}), start, clock=Clock())
    assert ended.is_set()
    run_scripted(make_config(num_instructions=5))
    with pytest.raises(StoppedError, match=r"has come\. 5 of 30 instructions were accepted"):
        generate(make_config(limits={"time_limit": "0.2s"}), start, clock=Clock())


@pytest.mark.parametrize("limits", [{}, {"time_limit": "8h"}])
def test_a_timeout_of_the_engine_s_own_is_no_deadline(make_config: Any, limits: dict[str, str]) -> None:
    async def start() -> Engine:
        raise TimeoutError("the Hub did not answer")

    with pytest.raises(TimeoutError, match="did not answer"):
        generate(make_config(limits=limits), start)


def test_a_later_deadline_or_none_continues_to_the_same_end(make_config: Any, tmp_path: Path) -> None:
    clock = Clock()
    limits = {"finish_by": "2027-01-15T08:00:40+00:00"}  # 40 s after START
    with pytest.raises(StoppedError, match="deadline"):
        run_scripted(make_config(limits=limits), clock.engine(), clock=clock)
    before = (tmp_path / "run" / "journal.jsonl").read_bytes()
    with pytest.raises(StoppedError, match="deadline"):
        run_scripted(make_config(limits=limits), clock.engine(), clock=clock)
    assert (tmp_path / "run" / "journal.jsonl").read_bytes() == before, "the same deadline lifts no stop"
    with pytest.raises(StoppedError, match="deadline"):
        run_scripted(make_config(limits={"finish_by": "2027-01-15T08:01:10+00:00"}), clock.engine(), clock=clock)
    config = make_config()
    live = run_scripted(config)
    assert live.complete
    assert [c["event"] for c in controls(tmp_path / "run")] == ["deadline", "resumed", "deadline", "resumed"]
    assert replayed(journal_lines(tmp_path / "run")) == live
    assert exported(config) == exported(whole(make_config, tmp_path))
    assert without_controls(tmp_path / "run") == without_controls(tmp_path / "whole")


def test_replay_applies_a_stop_and_never_decides_one(make_config: Any, tmp_path: Path) -> None:
    """What the clock decided follows from the journal alone: state and exports are the same on any other day."""
    clock = Clock()
    config = make_config(num_instructions=500, limits={"time_limit": "60s"})
    with pytest.raises(StoppedError):
        run_scripted(config, clock.engine(), clock=clock)
    files = exported(config)
    first, second = (replayed(journal_lines(tmp_path / "run")) for _ in range(2))
    assert first == second and first.stopped == from_json(controls(tmp_path / "run")[0])
    assert exported(config.kept()) == files


def test_a_stop_by_the_clock_gives_saturation_no_new_window(make_config: Any, tmp_path: Path) -> None:
    """The rule looks back over it, so that the run saturates where it would have without the stop."""

    def dull(request: Request) -> Answer:
        if request.key.startswith("proposal/") and int(request.key.partition("/")[2]) >= 3:
            return Completion(" Describe rivers in one sentence for a child.\n", "stop", 1, 1)
        return script(request)

    rule = {"window": 10, "min_acceptance": 0.1}
    with pytest.raises(StoppedError, match="saturated"):
        run_scripted(make_config(output_dir=str(tmp_path / "whole"), saturation=rule), ScriptedEngine(dull))
    with pytest.raises(StoppedError, match="budget"):
        run_scripted(make_config(saturation=rule, limits={"max_requests": 26}), ScriptedEngine(dull))
    with pytest.raises(StoppedError, match="saturated"):
        run_scripted(make_config(saturation=rule), ScriptedEngine(dull))
    assert without_controls(tmp_path / "run") == without_controls(tmp_path / "whole")
    assert controls(tmp_path / "run")[-1] == controls(tmp_path / "whole")[-1]


# ------------------------------------------------------------------------------------------------- degenerate answers


def item(n: int) -> str:
    """An instruction that is like no other one."""
    draw = random.Random(n)
    return " " + " ".join("".join(draw.choices(SYLLABLES, k=3)) for _ in range(9)).capitalize()


def often(kind: str) -> Any:
    """A model of which four answers of five are of one bad kind from the tenth on; the others bring something new."""

    def answer(request: Request) -> Answer:
        name, _, number = request.key.partition("/")
        if name != "proposal":
            return script(request)
        n = int(number)
        if n < 10 or n % 5 == 0:
            return Completion(f"{item(n)}.\n", "stop", 1, 20)
        bad = {
            "empty": Completion(" \n", "stop", 1, 1),
            "repeated": Completion(f"{item(n)}.\nTask 10: {'and so on ' * 90}", "length", 1, 20),
            "truncated": Completion(f"{item(n)}, then", "length", 1, 20),
        }
        return bad[kind]

    return answer


def test_an_engine_that_refuses_everything_is_no_saturation(make_config: Any, tmp_path: Path) -> None:
    """Whatever the options of saturation, the run ends and names the refusal; once it is mended, the run goes on."""

    def refuse(_: Request) -> Answer:
        raise RequestFailed("refused", "VLLMError: no such thing")

    never = {"window": 20, "min_acceptance": 0.0, "max_degenerate": 1.0}
    for rule in (never, {"window": 20}):
        with pytest.raises(StoppedError, match=r"the last 20 proposals all failed; .* refused: VLLMError: no such"):
            run_scripted(make_config(saturation=rule), ScriptedEngine(refuse))
        assert controls(tmp_path / "run") == []
    run_scripted(make_config(saturation={"window": 20}), ScriptedEngine(script))
    assert replayed(journal_lines(tmp_path / "run")).complete


@pytest.mark.parametrize(
    ("kind", "change"),
    [("empty", "--prompting"), ("repeated", "--proposal.temperature"), ("truncated", "--proposal.max-tokens")],
)
def test_degenerate_completions_stop_the_run_and_say_which(
    make_config: Any, tmp_path: Path, kind: str, change: str
) -> None:
    rule = {"window": 20, "min_acceptance": 0.0, "max_degenerate": 0.7}
    words = "without a candidate" if kind == "empty" else kind
    with pytest.raises(StoppedError, match=f"saturated: .* {words} among the 20 completions") as caught:
        run_scripted(make_config(num_instructions=200, saturation=rule), ScriptedEngine(often(kind)))
    assert caught.value.exit_code == 3 and change in str(caught.value)
    stop = controls(tmp_path / "run")[0]
    assert (stop["event"], stop["cause"]) == ("saturated", "degenerate")
    assert stop[f"window_{kind}"] > 0.7 * 20 and stop["window_accepted"] > 0
    assert replayed(journal_lines(tmp_path / "run")).pending() == []
    # It stays stopped, until the option is loosened.
    engine = ScriptedEngine(often(kind))
    with pytest.raises(StoppedError):
        run_scripted(make_config(num_instructions=200, saturation=rule), engine)
    assert not engine.history
    loose = rule | {"max_degenerate": 1.0}
    with pytest.raises(StoppedError, match="budget"):
        run_scripted(
            make_config(num_instructions=200, saturation=loose, limits={"max_requests": 120}),
            ScriptedEngine(often(kind)),
        )
    assert [c["event"] for c in controls(tmp_path / "run")] == ["saturated", "resumed", "budget"]


def test_truncated_completions_that_bring_something_stop_nothing(make_config: Any) -> None:
    def cut(request: Request) -> Answer:
        name, _, n = request.key.partition("/")
        return Completion(f"{item(int(n))}.\nTask 10: And", "length", 9, 9) if name == "proposal" else script(request)

    rule = {"window": 5, "max_degenerate": 0.5}
    assert run_scripted(make_config(saturation=rule), ScriptedEngine(cut)).complete


# ------------------------------------------------------------------------------------------------------------- engine


def test_an_engine_that_is_lost_is_remembered_until_the_run_goes_on(make_config: Any, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")

    def dying(request: Request) -> Answer:
        return EngineError("it died three times") if request.key == "proposal/6" else script(request)

    with pytest.raises(EngineError):
        run_scripted(make_config(), ScriptedEngine(dying))
    assert reason(run, replayed(journal_lines(run.path))).endswith("it died three times")
    assert not controls(run.path), "the run continues as if it had not happened"
    state = run_scripted(make_config())
    assert state.complete and reason(run, state) == "" and not run.stopped.exists()


def test_the_command_line(tmp_path: Path, seed_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from selfinstruct.cli import cli
    from selfinstruct.engines.vllm import VLLMEngine

    async def start(*_: Any, **__: Any) -> ScriptedEngine:
        return ScriptedEngine(script)

    def generate_with(*options: str) -> Any:
        command = ["generate", "--seeds", str(seed_file), "--output-dir", str(tmp_path / "run"), "--window", "5"]
        return CliRunner().invoke(cli, [*command, "--num-instructions", "40", *options])

    monkeypatch.setattr(VLLMEngine, "start", start)
    found = generate_with("--max-requests", "20", "--time-limit", "8h")
    assert found.exit_code == 3 and "the budget of 20 requests (--max-requests) is used up" in found.stderr
    found = generate_with("--finish-by", "2001-01-01T07:00")
    assert found.exit_code == 3 and "has come" not in found.stderr, "the budget stands in the run's configuration"
    assert generate_with("--max-requests", "100000").exit_code == 0
    found = generate_with("--finish-by", "noon")
    assert found.exit_code == 2 and "option --limits.finish-by: must be a local time" in found.stderr
    found = generate_with("--time-limit", "8")
    assert found.exit_code == 2 and "8h, 90m or 1h30m" in found.stderr


def test_the_configuration_of_limits_survives_yaml(make_config: Any, tmp_path: Path) -> None:
    config = make_config(limits={"finish_by": "19:30", "time_limit": "1h30m", "max_requests": 5})
    path = tmp_path / "c.yaml"
    path.write_text(dump_yaml(config))
    assert load_config(path, {}) == config
    path.write_text("limits: {finish_by: 19:30}")
    assert load_config(path, {}).limits.finish_by == "19:30"
    path.write_text("limits: {finish_by: 2026-11-25 07:00:00}")
    assert load_config(path, {}).limits.finish_by == "2026-11-25T07:00:00"
