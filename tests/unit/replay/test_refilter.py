"""`refilter`: every recorded candidate decided again; the new run is a run like any other."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfinstruct.cli import cli
from selfinstruct.config.load import load_config
from selfinstruct.config.schema import Config, Filters
from selfinstruct.config.scoring import Scores
from selfinstruct.dataset.export import export
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.errors import ConfigError, InputError, Interrupted, RunLockedError, StoppedError
from selfinstruct.records import Completion
from selfinstruct.replay.explain import explain
from selfinstruct.replay.refilter import refilter
from selfinstruct.replay.refilter_result import RefilterResult, render
from selfinstruct.replay.status import status
from selfinstruct.run.control_lines import Saturated
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.journal import read_lines
from selfinstruct.run.state import replay
from tests import rouge
from tests.conftest import SYLLABLES, examples, held_by_another, journal_lines, run_scripted, script
from tests.journals import Plan, make_run, plans

pytestmark = pytest.mark.whole


@pytest.fixture
def run(make_config: Any, tmp_path: Path) -> Path:
    run_scripted(make_config(num_instructions=40))
    return tmp_path / "run"


def adds_up(result: RefilterResult, output: Path) -> None:
    """The sums that `refilter` promises, and that the journal says the same."""
    c, i = result.candidates, result.instances
    assert c.total == c.stayed + c.entered + c.left + c.stayed_out == c.accepted + c.rejected
    assert c.accepted == c.stayed + c.entered and c.accepted_before == c.stayed + c.left
    assert sum(c.reasons.values()) == c.rejected
    assert i.before - i.lost - i.dropped + i.gained == i.kept
    state = replay(read_lines(output / "journal.jsonl"))
    assert (len(state.pool), state.num_instances) == (c.accepted, i.kept)
    assert len(state.pending()) == result.pending.total
    assert state.target == result.target >= len(state.pool)


def candidates(run: Path) -> list[dict[str, Any]]:
    return [c for line in journal_lines(run) if line["kind"] == "proposal" for c in line.get("candidates", ())]


@settings(max_examples=examples(6), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    threshold=st.floats(0.3, 0.95),
    target=st.integers(1, 40),
    raised=st.integers(0, 15),
    max_instances=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_the_recorded_filters_make_the_recorded_decisions(
    make_config: Any, threshold: float, target: int, raised: int, max_instances: int, seed: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        filters = {"threshold": threshold, "max_instances": max_instances}
        run, output = Path(folder) / "run", Path(folder) / "new"
        options = {"output_dir": str(run), "filters": filters, "seed": seed, "saturation": {"window": 12}}
        for wanted in (target, target + raised):
            with contextlib.suppress(StoppedError):
                run_scripted(make_config(num_instructions=wanted, **options))
        result = refilter(run, output, Filters.model_validate(filters))
        adds_up(result, output)
        assert result.filters == {} and result.candidates.entered == result.candidates.left == 0
        before, now = ((f / "journal.jsonl").read_bytes().split(b"\n") for f in (run, output))
        assert now[1:] == before[1:], "every line but the header, byte for byte"
        header = json.loads(now[0])
        assert header.pop("refiltered_from")["run"] == str(run.resolve())
        assert header == json.loads(before[0])


@settings(max_examples=examples(4), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plans.filter(lambda plan: not plan.is_regenerated))
def test_so_do_they_with_failed_requests_and_parent_runs(make_config: Any, plan: Plan) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run, _ = make_run(plan, Path(folder), make_config)
        result = refilter(run, Path(folder) / "new", RunDirectory(run).config().filters)
        adds_up(result, Path(folder) / "new")
        before, now = ((f / "journal.jsonl").read_bytes().split(b"\n") for f in (run, Path(folder) / "new"))
        assert now[1:] == before[1:]


@settings(max_examples=examples(6), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    threshold=st.floats(0.2, 0.95), min_words=st.integers(0, 9), max_instances=st.integers(1, 3), then=st.integers(0, 9)
)
def test_under_other_filters_the_sums_add_up_and_generate_goes_on(
    make_config: Any, run: Path, threshold: float, min_words: int, max_instances: int, then: int
) -> None:
    before = (run / "journal.jsonl").read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "new"
        filters = Filters(threshold=threshold, min_words=min_words, max_instances=max_instances)
        result = refilter(run, output, filters)
        adds_up(result, output)
        assert [c["id"] for c in candidates(output)] == [c["id"] for c in candidates(run)], "none is forgotten"
        config = load_config(output / "config.yaml", {"num_instructions": result.target + then})
        engine = ScriptedEngine(script)
        with contextlib.suppress(StoppedError):
            assert run_scripted(config, engine).complete
        asked = Counter(request.key.partition("/")[0] for request in engine.history)
        assert asked["classification"] >= result.pending.classification
        lines = journal_lines(output)
        assert len({json.dumps(line) for line in lines}) == len(lines), "nothing is asked twice"
        assert export(config).instructions.accepted >= result.candidates.accepted
    assert (run / "journal.jsonl").read_bytes() == before


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.8])
def test_decisions_are_those_of_rouge_score_in_order(
    run: Path, tmp_path: Path, seed_rows: Any, threshold: float
) -> None:
    refilter(run, tmp_path / "new", Filters(threshold=threshold))
    oracle = rouge.scorer()
    pool = [row["instruction"] for row in seed_rows]
    seen = Counter[str]()
    for candidate in candidates(tmp_path / "new"):
        reason = candidate.get("reason")
        if reason in ("truncated", "too_short", "too_long", "keyword", "target_reached"):
            continue
        best = max(oracle.score(text, candidate["instruction"])["rougeL"].fmeasure for text in pool)
        assert candidate["accepted"] == (best <= threshold), candidate
        seen[str(reason)] += 1
        if candidate["accepted"]:
            pool.append(candidate["instruction"])
    assert seen["None"] and seen["near_duplicate"]


def test_stricter_filters_lose_instructions_with_their_instances(run: Path, tmp_path: Path) -> None:
    result = refilter(run, tmp_path / "new", Filters(threshold=0.5))
    old, new = (replay(read_lines(r / "journal.jsonl")) for r in (run, tmp_path / "new"))
    gone = {i.id for i in old.pool} - {i.id for i in new.pool}
    assert len(gone) == result.candidates.left > 0
    assert result.instances.lost == sum(len(old.instances.get(name, [])) for name in gone) > 0
    assert not gone & (new.instances.keys() | new.is_classification.keys() | new.classification_failed)
    stayed = {i.id for i in old.pool} & {i.id for i in new.pool}
    assert all(new.instances.get(name) == old.instances.get(name) for name in stayed)


def test_what_only_now_enters_is_pending_and_left_out_of_the_export(run: Path, tmp_path: Path) -> None:
    output = tmp_path / "new"
    result = refilter(run, output, Filters(threshold=0.9))
    assert result.candidates.entered == result.pending.classification > 0
    count = result.pending.classification + result.pending.instances
    assert f"pending: {count} instructions have no instances yet and are" in render(result)
    one = replace(result, pending=replace(result.pending, classification=1, instances=0))
    assert "pending: 1 instruction has no instances yet and is left out" in render(one)
    assert result.candidates.left == 0 and result.target == result.candidates.accepted > 40
    old, new = (replay(read_lines(r / "journal.jsonl")) for r in (run, output))
    entered = {i.id for i in new.pool} - {i.id for i in old.pool}
    config = load_config(output / "config.yaml", {})
    counts = export(config)
    rows = [json.loads(line) for f in (output / "dataset").glob("*.jsonl") for line in f.read_text().splitlines()]
    assert not entered & {row["id"].rpartition("-")[0] for row in rows}
    said = status(output)
    assert said.counts.classification.pending == len(entered) and not said.stages["generate"].done
    assert said.refiltered_from.run == str(run)
    explained = explain(output, min(entered)).candidates[0]
    assert explained.accepted and explained.classification is None
    state = run_scripted(config)
    assert state.complete and {i.id for i in state.pool} == {i.id for i in new.pool}, "filled, and no more"
    assert export(config).instructions.with_instances > counts.instructions.with_instances
    assert "was filtered again; the prompts of that run" in (output / "dataset" / "README.md").read_text()


def test_a_target_that_is_no_longer_reached_lets_the_undecided_in(make_config: Any, tmp_path: Path) -> None:
    """With the first accepted candidate gone there is room for one that came after the target."""
    run = tmp_path / "run"
    for seed in itertools.count():
        run_scripted(make_config(num_instructions=6, seed=seed), overwrite=True)
        before = candidates(run)
        if Counter(c.get("reason") for c in before)["target_reached"] >= 2:
            break
    first = next(c["instruction"] for c in before if c["accepted"])
    word = max(first.rstrip(".").split(), key=len)
    result = refilter(run, tmp_path / "new", Filters(keywords=(word,)))
    adds_up(result, tmp_path / "new")
    now = {c["id"]: c for c in candidates(tmp_path / "new")}
    decided = [
        c for c in before if c.get("reason") == "target_reached" and now[c["id"]].get("reason") != "target_reached"
    ]
    assert result.candidates.left >= 1 and decided
    assert result.candidates.accepted <= 6


def test_identity_is_that_of_the_new_filters(run: Path, tmp_path: Path, make_config: Any) -> None:
    output = tmp_path / "new"
    refilter(run, output, Filters(threshold=0.6))
    header = journal_lines(output)[0]
    assert header["identity"] == {
        **journal_lines(run)[0]["identity"],
        "filters": Filters(threshold=0.6).model_dump(mode="json"),
    }
    assert header["refiltered_from"]["filters"]["threshold"] == 0.7
    assert header["refiltered_from"]["lines"] == len(journal_lines(run))
    with pytest.raises(ConfigError, match=r"filters\.threshold: recorded 0\.6, now 0\.7"):
        run_scripted(make_config(num_instructions=40, output_dir=str(output)))
    refilter(output, tmp_path / "newer", Filters(threshold=0.7))
    origin = journal_lines(tmp_path / "newer")[0]["refiltered_from"]
    assert origin["run"] == str(output) and origin["refiltered_from"]["run"] == str(run)


def test_a_stop_is_kept_as_far_as_the_new_decisions_bear_it_out(make_config: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"

    def dull(request: Any) -> Completion:
        number = int(request.key.partition("/")[2]) if request.key.startswith("proposal") else 0
        words = " ".join(random.Random(number).choices("red green blue grey pink".split(), k=3))
        return Completion(f" Write down ten names for this colour {words}.\n", "stop") if number else script(request)

    with pytest.raises(StoppedError, match="saturated"):
        run_scripted(make_config(saturation={"window": 10, "min_acceptance": 0.1}), ScriptedEngine(dull))
    stop = journal_lines(run)[-1] if journal_lines(run)[-1]["kind"] == "control" else None
    stop = stop or next(line for line in journal_lines(run) if line["kind"] == "control")
    laxer = refilter(run, tmp_path / "laxer", Filters(threshold=0.95))
    assert laxer.stops_left_out == 1 and replay(read_lines(tmp_path / "laxer" / "journal.jsonl")).stopped is None
    stricter = refilter(run, tmp_path / "stricter", Filters(threshold=0.4))
    kept = replay(read_lines(tmp_path / "stricter" / "journal.jsonl")).stopped
    assert stricter.stops_left_out == 0 and isinstance(kept, Saturated)
    assert kept.window_accepted <= stop["window_accepted"]


def test_a_stop_for_degenerate_answers_is_decided_again(make_config: Any, tmp_path: Path) -> None:
    """Cut short, with nothing accepted: other filters may accept something of such an answer after all."""

    def cut(request: Any) -> Completion:
        n = int(request.key.partition("/")[2]) if request.key.startswith("proposal") else -1
        if n < 4:
            return script(request)
        words = " ".join(random.Random(n).choices(SYLLABLES, k=8))
        return Completion(f" Paint a {words} picture.\nTask 10: And", "length", 9, 9)

    rule = {"window": 8, "min_acceptance": 0, "max_degenerate": 0.8}
    with pytest.raises(StoppedError, match="saturated: the model hardly answers any more: 7 truncated among"):
        run_scripted(make_config(saturation=rule), ScriptedEngine(cut))
    same = refilter(tmp_path / "run", tmp_path / "same", Filters())
    assert same.stops_left_out == 0
    assert journal_lines(tmp_path / "same")[1:] == journal_lines(tmp_path / "run")[1:]
    laxer = refilter(tmp_path / "run", tmp_path / "laxer", Filters(keywords=()))
    assert laxer.stops_left_out == 1 and replay(read_lines(tmp_path / "laxer" / "journal.jsonl")).stopped is None


def test_a_stop_that_another_rule_now_bears_out_says_so(make_config: Any, tmp_path: Path) -> None:
    """Most answers are empty; stricter filters leave nothing of the others, and acceptance is looked at first."""

    def mostly_empty(request: Any) -> Completion:
        n = int(request.key.partition("/")[2]) if request.key.startswith("proposal") else -1
        return script(request) if n < 4 or n % 4 == 0 else Completion("", "stop", 9, 0)

    rule = {"window": 8, "min_acceptance": 0.1, "max_degenerate": 0.7}
    with pytest.raises(StoppedError, match="saturated: the model hardly answers any more"):
        run_scripted(make_config(saturation=rule), ScriptedEngine(mostly_empty))
    refilter(tmp_path / "run", tmp_path / "stricter", Filters(threshold=0.01))
    stop = replay(read_lines(tmp_path / "stricter" / "journal.jsonl")).stopped
    assert isinstance(stop, Saturated) and (stop.cause, stop.window_accepted) == ("acceptance", 0)


def test_what_clock_budget_and_person_decided_stays(make_config: Any, tmp_path: Path) -> None:
    """And so do answers that are far too long, which have no candidates that could be decided again."""
    long = Completion("long " * 50_000, "length", 9, 9)

    def answer(request: Any) -> Any:
        return long if request.key == "proposal/1" else script(request)

    def stopped(request: Any) -> Any:
        if request.key == "proposal/3":
            os.kill(os.getpid(), signal.SIGTERM)
        return answer(request)

    with pytest.raises(Interrupted):
        run_scripted(make_config(), ScriptedEngine(stopped, latency=0.001))
    with pytest.raises(StoppedError, match="budget"):
        run_scripted(make_config(limits={"max_requests": 30}), ScriptedEngine(answer))
    assert run_scripted(make_config(limits={"time_limit": "8h"}), ScriptedEngine(script)).complete
    recorded = journal_lines(tmp_path / "run")
    result = refilter(tmp_path / "run", tmp_path / "new", Filters(threshold=0.4))
    adds_up(result, tmp_path / "new")
    lines = journal_lines(tmp_path / "new")

    def untouched(of: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [line for line in of if line["kind"] == "control" or (line["kind"] == "proposal" and "failed" in line)]

    assert untouched(lines) == untouched(recorded)
    assert [line["event"] for line in untouched(lines) if "event" in line] == ["interrupted", "budget", "resumed"]
    assert "completion_too_long" in [line["failed"]["reason"] for line in untouched(lines) if "failed" in line]
    assert result.target == 30 and replay(read_lines(tmp_path / "new" / "journal.jsonl")).stopped is None
    counts = export(load_config(tmp_path / "new" / "config.yaml", {}))
    assert counts.instructions.accepted == result.candidates.accepted


def test_where_nothing_can_be_filtered_again(run: Path, tmp_path: Path, seed_file: Path) -> None:
    filters = Filters()
    with pytest.raises(ConfigError, match="already holds a run"):
        refilter(run, run, filters)
    with pytest.raises(InputError, match="not a run directory"):
        refilter(tmp_path, tmp_path / "new", filters)
    with held_by_another(tmp_path / "held"), pytest.raises(RunLockedError):
        refilter(run, tmp_path / "held", filters)
    damaged = tmp_path / "damaged"
    shutil.copytree(run, damaged)
    lines = (run / "journal.jsonl").read_bytes().split(b"\n")
    (damaged / "journal.jsonl").write_bytes(b"\n".join([*lines[:5], b"{", *lines[6:]]))
    with pytest.raises(InputError, match=r"line 6 \(byte \d+\): damaged"):
        refilter(damaged, tmp_path / "new", filters)
    assert not (tmp_path / "new").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("my own")
    with pytest.raises(InputError):
        refilter(damaged, tmp_path / "mine", filters)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    assert not (tmp_path / "new" / "journal.jsonl").exists()
    with pytest.raises(ConfigError, match="no answer of this run has a score"):
        refilter(run, tmp_path / "scored", filters, scores=Scores(min_best="50%"))
    assert not (tmp_path / "scored").exists()
    seed_file.write_text(seed_file.read_text().replace("old trains", "new trains"))
    with pytest.raises(InputError, match="changed since the run began"):
        refilter(run, tmp_path / "new", filters)


def test_the_command(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def invoke(*arguments: Any) -> Any:
        return CliRunner().invoke(cli, ["refilter", str(run), *map(str, arguments)])

    monkeypatch.setenv("SELFINSTRUCT_SEED", "7")
    monkeypatch.setenv("SELFINSTRUCT_FILTERS__MIN_WORDS", "5")
    done = invoke("--threshold", 0.6, "-o", tmp_path / "a", "--json")
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["filters"] == {"threshold": [0.7, 0.6], "min_words": [4, 5]}
    assert list(result) == [
        *("run", "output", "filters", "candidates", "instances", "answers_left_out", "pending", "target"),
        *("stops_left_out", "scorer", "bounds"),
    ]
    assert (result["scorer"], result["bounds"]) == ("", {})
    moves = ["stayed", "entered", "left", "stayed_out"]
    assert list(result["candidates"]) == ["total", "accepted_before", "accepted", "rejected", *moves, "reasons"]
    assert list(result["instances"]) == ["before", "lost", "dropped", "gained", "kept", "reasons", "warnings"]
    assert list(result["pending"]) == list(result["answers_left_out"]) == ["classification", "instances", "answer"]
    config: Config = load_config(tmp_path / "a" / "config.yaml", {})
    assert (config.seed, config.filters.threshold, config.output_dir) == (42, 0.6, str(tmp_path / "a"))
    done = invoke("--filters.threshold", 0.8, "-o", tmp_path / "b")
    assert done.exit_code == 0 and done.stdout == ""
    assert "threshold 0.7 -> 0.8" in done.stderr and "not the run that these filters would have produced" in done.stderr
    done = invoke("--scorer", "judge", "-o", tmp_path / "d")
    assert done.exit_code == 0 and "scorer (not set) -> judge" in done.stderr
    assert invoke("--threshold", 2, "-o", tmp_path / "c").exit_code == 2
    assert invoke("--threshold", 0.6).exit_code == 2


def test_a_run_made_before_keeps_its_words(run: Path, tmp_path: Path) -> None:
    """Its journal and configuration do not name them: they were single characters in scripts without spaces."""
    journal, config = run / "journal.jsonl", run / "config.yaml"
    journal.write_text(journal.read_text().replace('"tokenizer":"words",', ""))
    config.write_text("".join(line for line in config.open() if "tokenizer" not in line))
    assert "tokenizer" not in journal.read_text() + config.read_text()
    output = tmp_path / "shorter"
    result = CliRunner().invoke(cli, ["refilter", str(run), "--filters.max-words", "80", "-o", str(output), "--json"])
    assert json.loads(result.output)["filters"] == {"max_words": [150, 80]}
    assert RunDirectory(output).header().identity["filters"]["tokenizer"] == "characters"
    assert load_config(output / "config.yaml", {}).filters.tokenizer == "characters"
