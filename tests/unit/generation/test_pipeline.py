"""The scheduler: proposals in order whatever the latencies, the window, follow-ups first, when it stops."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.chain import chain
from selfinstruct.config.schema import Config
from selfinstruct.engines.base import Request, RequestFailed
from selfinstruct.engines.scripted import Answer, Script, ScriptedEngine
from selfinstruct.errors import EngineError, StoppedError
from selfinstruct.generation.method import Method
from selfinstruct.generation.steps import Steps
from selfinstruct.records import Completion
from tests.conftest import journal_lines, replayed, run_scripted, script


def proposals(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if line["kind"] == "proposal"]


def as_set(lines: list[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(line) for line in lines)


def exported(config: Config) -> dict[str, bytes]:
    """The bytes of every exported file, by name."""
    chain.export(config)
    folder = Path(str(config.output_dir)) / "dataset"
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class OneByOne(ScriptedEngine):
    """Answers one request at a time, drawn at random, once the pipeline has asked all that it wants to ask.

    So its order of answers is as disorderly as that of random latencies, and the same on a machine under any load.

    Attributes:
        open: what has been asked and is not answered yet, by key.
        cancelled: keys of requests that were taken back.
        on_ask: called with each request.
        on_answer: called before each answer.
    """

    def __init__(self, answers: Script, seed: int = 0, capacity: int = 256) -> None:
        super().__init__(answers, capacity=capacity)
        self.open: dict[str, asyncio.Future[None]] = {}
        self.cancelled: list[str] = []
        self.on_ask: Callable[[Request], None] = lambda request: None
        self.on_answer: Callable[[], None] = lambda: None
        self._draw = random.Random(seed)
        self._releasing: asyncio.Task[None] | None = None

    async def generate(self, request: Request) -> Completion:
        released = self.open[request.key] = asyncio.get_running_loop().create_future()
        self.on_ask(request)
        if self._releasing is None or self._releasing.done():
            self._releasing = asyncio.ensure_future(self._release())
        try:
            await released
        except asyncio.CancelledError:
            self.cancelled.append(request.key)
            raise
        finally:
            del self.open[request.key]
        return await super().generate(request)

    async def _release(self) -> None:
        while self.open:
            for _ in range(20):
                await asyncio.sleep(0)
            if self.open:
                self.on_answer()
                released = self.open[self._draw.choice(sorted(self.open))]
                if not released.done():
                    released.set_result(None)


# ------------------------------------------------------------------------------------------------------------ order


def test_latencies_change_nothing_but_the_order_of_follow_ups(make_config: Any, tmp_path: Path) -> None:
    def run(name: str, engine: ScriptedEngine) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
        config = make_config(output_dir=str(tmp_path / name))
        run_scripted(config, engine)
        return journal_lines(tmp_path / name), exported(config)

    at_once, files = run("at-once", ScriptedEngine(script))
    orders = set()
    for seed in range(6):
        late, late_files = run(f"late-{seed}", ScriptedEngine(script, latency=0.01, seed=seed))
        assert proposals(late) == proposals(at_once)
        assert [line["n"] for line in proposals(late)] == list(range(len(proposals(late))))
        assert as_set(late) == as_set(at_once)
        assert late_files == files
        orders.add(json.dumps(late))
    assert len(orders) > 1, "the latencies made no difference, so this test shows nothing"


def test_max_in_flight_changes_no_line(make_config: Any, tmp_path: Path) -> None:
    found = []
    for most in (1, 3, 40):
        run_scripted(make_config(output_dir=str(tmp_path / str(most)), max_in_flight=most))
        found.append(as_set(journal_lines(tmp_path / str(most))))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_a_prompt_is_a_function_of_the_pool_after_proposals_up_to_n_minus_window(
    make_config: Any, tmp_path: Path, share: float
) -> None:
    config = make_config(window=4, window_share=share)
    last_seen = Method.of(config).last_seen
    engine = ScriptedEngine(script, latency=0.01, seed=3)
    run_scripted(config, engine)
    by_number = {line["n"]: line for line in proposals(journal_lines(tmp_path / "run"))}
    text_of = {c["id"]: c["instruction"] for line in by_number.values() for c in line.get("candidates", ())}
    written_by = {
        name: line["n"] for line in by_number.values() for name in [c["id"] for c in line.get("candidates", ())]
    }
    generated = 0
    for n, line in by_number.items():
        for name in line["examples"]:
            if name in written_by:
                generated += 1
                assert written_by[name] <= last_seen(n) <= n - 4
                prompt = next(r.prompt for r in engine.history if r.key == f"proposal/{n}")
                assert text_of[name] in prompt
    assert generated > 10
    # An answer that changes, changes nothing before the window has passed over it.
    other = ScriptedEngine(lambda r: Completion("", "stop") if r.key == "proposal/2" else script(r))
    run_scripted(make_config(window=4, window_share=share, output_dir=str(tmp_path / "other")), other)
    prompts = [{r.key: r.prompt for r in e.history if r.key.startswith("proposal/")} for e in (engine, other)]
    assert all(prompts[0][f"proposal/{n}"] == prompts[1][f"proposal/{n}"] for n in range(6))
    assert any(prompts[0][key] != prompts[1][key] for key in prompts[0].keys() & prompts[1].keys())


@pytest.mark.parametrize(
    ("window", "soon", "share", "windows"),
    [
        (96, None, 0.0, {0: 96, 1000: 96, 50_000: 96}),
        (96, None, 0.25, {0: 96, 192: 96, 220: 110, 240: 120, 480: 120, 484: 121, 50_000: 12_500}),
        (96, 1536, 0.25, {0: 96, 192: 96, 400: 200, 3072: 1536, 6144: 1536, 8000: 2000, 50_000: 12_500}),
        (2000, None, 0.25, {0: 2000, 4200: 2100, 9999: 2500, 12_000: 3000}),
        (1, None, 0.5, {0: 1, 3: 1, 4: 2, 5000: 2500}),
    ],
)
def test_the_window_grows_with_the_run(window: int, soon: int | None, share: float, windows: dict[int, int]) -> None:
    method = Method.of(Config(window=window, window_soon=soon, window_share=share))
    assert {n: n - method.last_seen(n) for n in windows} == windows
    seen = [method.last_seen(n) for n in range(20_000)]
    assert all(after - before in (0, 1) for before, after in pairwise(seen)), "a proposal sees what those before it saw"


def test_a_run_that_is_stopped_anywhere_goes_on_the_same_with_a_growing_window(
    make_config: Any, tmp_path: Path
) -> None:
    growing = {"window": 2, "window_share": 0.4, "num_instructions": 40}
    run_scripted(make_config(**growing, output_dir=str(tmp_path / "whole")))
    whole = journal_lines(tmp_path / "whole")
    assert len(proposals(whole)) > 12, "else the window has not grown"
    for kept in range(1, len(whole), 7):
        folder = tmp_path / f"cut-{kept}"
        folder.mkdir()
        (folder / "journal.jsonl").write_bytes(b"".join(json.dumps(line).encode() + b"\n" for line in whole[:kept]))
        engine = ScriptedEngine(script, latency=0.003, seed=kept)
        assert run_scripted(make_config(**growing, output_dir=str(folder)), engine).complete
        assert as_set(journal_lines(folder)) == as_set(whole)


@pytest.mark.parametrize(("capacity", "wanted", "most"), [(16, None, 20), (16, 6, 6)])
def test_an_engine_gets_a_quarter_more_than_it_computes_at_once(
    make_config: Any, capacity: int, wanted: int | None, most: int
) -> None:
    engine = OneByOne(script, seed=1, capacity=capacity)
    most_open = 0

    def note(request: Request) -> None:
        nonlocal most_open
        most_open = max(most_open, len(engine.open))

    engine.on_ask = note
    run_scripted(make_config(window=60, max_in_flight=wanted, num_instructions=60), engine)
    assert most_open == most


def test_two_runs_with_other_seeds_differ(make_config: Any, tmp_path: Path) -> None:
    run_scripted(make_config(output_dir=str(tmp_path / "a"), seed=1))
    run_scripted(make_config(output_dir=str(tmp_path / "b"), seed=2))
    assert proposals(journal_lines(tmp_path / "a")) != proposals(journal_lines(tmp_path / "b"))


# ----------------------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize(("window", "most"), [(5, 12), (3, 100), (30, 4), (1, 1)])
def test_window_and_max_in_flight_are_never_exceeded(make_config: Any, window: int, most: int) -> None:
    engine = OneByOne(script, seed=window)
    seen: dict[str, int] = {"open": 0, "proposals": 0, "ahead": 0}

    def note(request: Request) -> None:
        kind, _, n = request.key.partition("/")
        asked = [k for k in engine.open if k.startswith("proposal/")]
        seen["open"] = max(seen["open"], len(engine.open))
        seen["proposals"] = max(seen["proposals"], len(asked))
        if kind == "proposal":
            oldest = min(int(k.partition("/")[2]) for k in asked)
            seen["ahead"] = max(seen["ahead"], int(n) - oldest)

    engine.on_ask = note
    run_scripted(make_config(window=window, max_in_flight=most), engine)
    assert seen["open"] <= most
    assert seen["proposals"] <= min(window, most)
    assert seen["ahead"] < window
    assert seen["open"] == most or window < most, "the limit was never reached, so this test shows nothing"


def test_follow_ups_go_before_proposals(make_config: Any, tmp_path: Path) -> None:
    """With room for one request, nothing is proposed before everything accepted so far has its instances."""
    engine = OneByOne(script)
    checked = 0

    def note(request: Request) -> None:
        nonlocal checked
        if request.key.startswith("proposal/"):
            assert replayed(journal_lines(tmp_path / "run")).pending() == []
            checked += 1

    engine.on_ask = note
    run_scripted(make_config(max_in_flight=1), engine)
    assert checked > 5


def test_the_stream_is_one_and_never_drains_before_the_target(make_config: Any, tmp_path: Path) -> None:
    """Where the window leaves room, every place that an answer frees is taken again, by whatever step is due."""
    engine = OneByOne(script)
    num_open: list[int] = []
    mixes = set()

    def note() -> None:
        num_open.append(len(engine.open))
        mixes.add(tuple(sorted({key.partition("/")[0] for key in engine.open})))

    engine.on_answer = note
    run_scripted(make_config(window=60, max_in_flight=12, num_instructions=60), engine)
    lines = journal_lines(tmp_path / "run")
    before_target = num_open[: max(k for k, line in enumerate(lines) if line["kind"] == "proposal") - 1]
    assert len(before_target) > 80
    assert set(before_target) == {12}
    assert ("classification", "instances", "proposal") in mixes


# ------------------------------------------------------------------------------------------------- the target, dropping


def test_target_is_met_exactly_and_later_candidates_are_recorded(make_config: Any, tmp_path: Path) -> None:
    recorded = 0
    for target in range(20, 30):
        config = make_config(num_instructions=target, output_dir=str(tmp_path / str(target)))
        state = run_scripted(config, ScriptedEngine(script, latency=0.003, seed=target))
        assert len(state.pool) == target and state.complete
        lines = proposals(journal_lines(tmp_path / str(target)))
        late = [c for line in lines for c in line.get("candidates", ()) if c.get("reason") == "target_reached"]
        assert all(c["id"] > state.pool[-1].id for c in late)
        assert all(c in lines[-1]["candidates"] for c in late)
        after_last = [c for c in lines[-1]["candidates"] if c["id"] > state.pool[-1].id]
        assert after_last == late
        recorded += len(late)
    assert recorded > 0


def test_proposals_under_way_at_the_target_are_dropped_and_follow_ups_are_not(make_config: Any, tmp_path: Path) -> None:
    engine = OneByOne(script)
    state = run_scripted(make_config(), engine)
    committed = len(proposals(journal_lines(tmp_path / "run")))
    asked = {r.key for r in engine.history if r.key.startswith("proposal/")}
    assert len(asked) > committed
    assert engine.cancelled and all(key.startswith("proposal/") for key in engine.cancelled)
    assert not state.pending() and not engine.open


def test_a_dropped_proposal_that_fails_leaves_no_unretrieved_exception(make_config: Any) -> None:
    """Dropped in the same turn of the loop as it failed: nobody asks for its exception, unless the pipeline does."""
    complaints: list[dict[str, Any]] = []

    class Complaining(ScriptedEngine):
        async def generate(self, request: Request) -> Completion:
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
            self.history.append(request)
            if request.key.startswith("proposal/"):
                await asyncio.sleep(0.02)  # All of a window end in the same turn of the loop, in order.
                if int(request.key.partition("/")[2]) >= 3:
                    raise RequestFailed("refused", request.key)
            return script(request)  # type: ignore[return-value]

    run_scripted(make_config(num_instructions=2, window=8), Complaining(script))
    import gc

    gc.collect()
    assert complaints == []


# -------------------------------------------------------------------------------------------------------- saturation


def dull(request: Request) -> Answer:
    """A model that has nothing new to say after its first three proposals."""
    if request.key.startswith("proposal/") and int(request.key.partition("/")[2]) >= 3:
        return Completion(" Describe rivers in one sentence for a child.\n", "stop", 1, 1)
    return script(request)


def test_saturation_stops_with_a_control_line_and_exit_code_3(make_config: Any, tmp_path: Path) -> None:
    config = make_config(saturation={"window": 10, "min_acceptance": 0.1})
    with pytest.raises(StoppedError, match="saturated") as caught:
        run_scripted(config, ScriptedEngine(dull, latency=0.005, seed=1))
    assert caught.value.exit_code == 3
    lines = journal_lines(tmp_path / "run")
    controls = [line for line in lines if line["kind"] == "control"]
    assert [c["event"] for c in controls] == ["saturated"]
    assert controls[0]["after_proposal"] == proposals(lines)[-1]["n"] == len(proposals(lines)) - 1
    assert controls[0]["window_accepted"] < 0.1 * controls[0]["window_candidates"]
    # What was accepted has its instances all the same.
    assert replayed(lines).pending() == []


def test_a_saturated_run_stays_stopped_without_starting_an_engine(make_config: Any, tmp_path: Path) -> None:
    config = make_config(saturation={"window": 10, "min_acceptance": 0.1})
    with pytest.raises(StoppedError):
        run_scripted(config, ScriptedEngine(dull))
    before = (tmp_path / "run" / "journal.jsonl").read_bytes()
    engine = ScriptedEngine(dull)
    with pytest.raises(StoppedError, match="saturated"):
        run_scripted(config, engine)
    assert (tmp_path / "run" / "journal.jsonl").read_bytes() == before
    assert not engine.history and not engine._closed


def test_a_raised_target_alone_lifts_no_stop(make_config: Any, tmp_path: Path) -> None:
    rule = {"window": 10, "min_acceptance": 0.1}
    with pytest.raises(StoppedError):
        run_scripted(make_config(saturation=rule), ScriptedEngine(dull))
    journal = tmp_path / "run" / "journal.jsonl"
    # Follow-ups that were cut off are still made, and nothing is proposed beside them.
    lines = journal.read_bytes().split(b"\n")
    lines.pop(next(k for k, line in enumerate(lines) if line.startswith(b'{"kind":"instances"')))
    journal.write_bytes(b"\n".join(lines))
    engine = ScriptedEngine(dull)
    with pytest.raises(StoppedError, match="saturated"):
        run_scripted(make_config(saturation=rule, num_instructions=40), engine)
    assert {request.key.partition("/")[0] for request in engine.history} == {"instances"}
    assert not [line for line in journal_lines(tmp_path / "run") if line.get("event") == "resumed"]


def test_loosened_options_lift_the_stop(make_config: Any, tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        run_scripted(make_config(saturation={"window": 10, "min_acceptance": 0.1}), ScriptedEngine(dull))
    asked = len(proposals(journal_lines(tmp_path / "run")))
    state = run_scripted(make_config(saturation={"window": 10, "min_acceptance": 0.0}))
    lines = journal_lines(tmp_path / "run")
    events = [(line["event"], line["after_proposal"]) for line in lines if line["kind"] == "control"]
    assert events == [("saturated", asked - 1), ("resumed", asked - 1)]
    assert state.complete and len(state.pool) == 30


def test_a_lifted_stop_is_judged_again_after_a_whole_window(make_config: Any, tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        run_scripted(make_config(saturation={"window": 10, "min_acceptance": 0.2}), ScriptedEngine(dull))
    with pytest.raises(StoppedError):
        run_scripted(make_config(saturation={"window": 7, "min_acceptance": 0.2}), ScriptedEngine(dull))
    controls = [line for line in journal_lines(tmp_path / "run") if line["kind"] == "control"]
    assert [c["event"] for c in controls] == ["saturated", "resumed", "saturated"]
    assert controls[2]["after_proposal"] - controls[1]["after_proposal"] == 7


def test_a_run_killed_before_the_control_line_saturates_at_the_same_place(make_config: Any, tmp_path: Path) -> None:
    config = make_config(saturation={"window": 10, "min_acceptance": 0.1})
    with pytest.raises(StoppedError):
        run_scripted(config, ScriptedEngine(dull))
    journal = tmp_path / "run" / "journal.jsonl"
    whole = journal.read_bytes().split(b"\n")
    control = next(k for k, line in enumerate(whole) if b'"saturated"' in line)
    journal.write_bytes(b"\n".join(whole[:control]) + b"\n")
    with pytest.raises(StoppedError):
        run_scripted(config, ScriptedEngine(dull))
    assert sorted(journal.read_bytes().split(b"\n")) == sorted(whole)


def test_requests_that_cannot_even_be_asked_end_the_run_too(make_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every prompt too long from the tenth on: each is journaled, and the event loop still turns (Ctrl-C works)."""
    real = Steps.proposal_request

    def refuse(self: Steps, n: int, pool: Any, visible: int, line: Any) -> Any:
        if n >= 10:
            raise RequestFailed("prompt_too_long", f"proposal/{n}")
        return real(self, n, pool, visible, line)

    monkeypatch.setattr(Steps, "proposal_request", refuse)
    turns = 0

    class Turning(ScriptedEngine):
        async def generate(self, request: Request) -> Completion:
            nonlocal turns
            turns += 1
            return await super().generate(request)

    with pytest.raises(StoppedError):
        run_scripted(make_config(num_instructions=500, saturation={"window": 50}), Turning(script))


# ----------------------------------------------------------------------------------------------------- raised, lowered


def test_a_raised_target_is_a_control_line_and_lowering_changes_nothing(make_config: Any, tmp_path: Path) -> None:
    run_scripted(make_config(num_instructions=12))
    first = journal_lines(tmp_path / "run")
    state = run_scripted(make_config(num_instructions=25))
    lines = journal_lines(tmp_path / "run")
    assert lines[: len(first)] == first
    assert lines[len(first)] == {
        "kind": "control",
        "event": "target_raised",
        "after_proposal": len(proposals(first)) - 1,
        "num_instructions": 25,
    }
    assert len(state.pool) == 25 and state.complete
    before = (tmp_path / "run" / "journal.jsonl").read_bytes()
    engine = ScriptedEngine(script)
    state = run_scripted(make_config(num_instructions=5), engine)
    assert state.target == 25 and not engine.history
    assert (tmp_path / "run" / "journal.jsonl").read_bytes() == before


def test_a_raised_run_is_the_same_whatever_the_latencies(make_config: Any, tmp_path: Path) -> None:
    found = []
    for seed in (1, 2):
        for target in (12, 25):
            config = make_config(num_instructions=target, output_dir=str(tmp_path / str(seed)))
            run_scripted(config, ScriptedEngine(script, latency=0.005, seed=seed))
        found.append(as_set(journal_lines(tmp_path / str(seed))))
    assert found[0] == found[1]


# ---------------------------------------------------------------------------------------------------------- failures


def flaky(request: Request) -> Answer:
    """Fails some requests of every step, as a function of the prompt; the others are answered."""
    draw = random.Random(json.dumps(request.prompt) + "flaky")
    if draw.random() < 0.25:
        return RequestFailed(draw.choice(["timeout", "refused"]), request.key)
    return script(request)


def test_failed_requests_are_journaled_counted_and_not_asked_again(make_config: Any, tmp_path: Path) -> None:
    engine = ScriptedEngine(flaky, latency=0.003, seed=1)
    state = run_scripted(make_config(), engine)
    lines = journal_lines(tmp_path / "run")
    failed = [line for line in lines if line.get("failed", {}).get("reason") in ("timeout", "refused")]
    assert {line["kind"] for line in failed} == {"proposal", "classification", "instances"}
    assert all("completion" not in line and "candidates" not in line for line in failed)
    assert all(line["failed"]["detail"] for line in failed)
    counted = sum(n for (_, reason), n in state.failures.items() if reason in ("timeout", "refused"))
    assert counted == len(failed)
    assert max(Counter(r.key for r in engine.history).values()) == 1
    assert state.complete


def test_an_unparsable_classification_is_a_failure_and_gets_no_instances(make_config: Any, tmp_path: Path) -> None:
    state = run_scripted(make_config())
    lines = journal_lines(tmp_path / "run")
    unclear = [x for x in lines if x["kind"] == "classification" and "Maybe" in x["completion"]["text"]]
    assert unclear
    for line in unclear:
        assert "is_classification" not in line and line["failed"]["reason"]
        assert line["id"] in state.classification_failed and line["id"] not in state.is_classification
    assert not {x["id"] for x in lines if x["kind"] == "instances"} & state.classification_failed


def test_a_proposal_without_candidates_is_a_failure(make_config: Any, tmp_path: Path) -> None:
    empty = Completion(" \n", "stop", 3, 1)
    odd = lambda r: empty if r.key in ("proposal/0", "proposal/4") else script(r)  # noqa: E731
    state = run_scripted(make_config(), ScriptedEngine(odd))
    found = {x["n"]: x for x in proposals(journal_lines(tmp_path / "run"))}
    assert found[0]["failed"] == found[4]["failed"] == {"reason": "no_candidates", "detail": ""}
    assert found[0]["completion"]["text"] == " \n"
    assert state.failures["proposal", "no_candidates"] >= 2


@pytest.mark.parametrize("kind", ["proposal", "classification", "instances"])
def test_an_engine_that_dies_leaves_a_run_that_continues_to_the_same_end(
    make_config: Any, tmp_path: Path, kind: str
) -> None:
    whole = make_config(output_dir=str(tmp_path / "whole"))
    run_scripted(whole)
    config = make_config()
    for death in (2, 3, 4):
        seen = 0

        def dying(request: Request, death: int = death) -> Answer:
            nonlocal seen
            seen += request.key.startswith(kind)
            return EngineError("died") if seen == death else script(request)

        with pytest.raises(EngineError, match="died") as caught:
            run_scripted(config, ScriptedEngine(dying, latency=0.003, seed=death))
        assert caught.value.exit_code == 3
    run_scripted(config, ScriptedEngine(script, latency=0.003, seed=99))
    assert proposals(journal_lines(tmp_path / "run")) == proposals(journal_lines(tmp_path / "whole"))
    assert as_set(journal_lines(tmp_path / "run")) == as_set(journal_lines(tmp_path / "whole"))
    assert exported(config) == exported(whole)
