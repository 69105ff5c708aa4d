"""What a journal adds up to: replay applies recorded decisions and refuses what is no journal of one run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.errors import InputError
from selfinstruct.records import Instance, Instruction
from selfinstruct.run.counting import run_counts
from selfinstruct.run.lines import encode, from_json, parse
from selfinstruct.run.state import RunState
from tests.conftest import examples, journal_lines, replayed, run_scripted, script
from tests.journals import Plan, make_run, plans

HEADER = {"kind": "run", "version": 1, "identity": {}, "resolved": {}, "num_instructions": 2}


def apply(state: RunState, line: dict[str, Any]) -> None:
    state.apply(from_json(line))


def proposal(n: int, *candidates: dict[str, Any], **more: Any) -> dict[str, Any]:
    completion = {"text": "...", "finish_reason": "stop", "prompt_tokens": 10, "completion_tokens": 5}
    return {"kind": "proposal", "n": n, "examples": [], "completion": completion, "candidates": list(candidates)} | more


def yes(name: str) -> dict[str, Any]:
    return {"id": name, "instruction": f"Do {name}.", "accepted": True, "nearest_seed": None}


def no(name: str, reason: str) -> dict[str, Any]:
    return {"id": name, "instruction": f"Do {name}.", "accepted": False, "reason": reason, "evidence": {}}


def test_each_kind_of_line() -> None:
    state = RunState()
    apply(state, HEADER)
    assert state.target == 2 and not state.complete
    apply(state, proposal(0, yes("a"), no("b", "length")))
    assert state.pool == [Instruction("a", "Do a.", 0)]
    assert [left.kind for left in state.pending()] == ["classification"]
    apply(state, {"kind": "proposal", "n": 1, "examples": [], "failed": {"reason": "timeout", "detail": ""}})
    assert state.pool_after == [1, 1] and state.candidates_after == [2, 2]
    apply(state, {"kind": "classification", "id": "a", "is_classification": True})
    assert [left.kind for left in state.pending()] == ["instances"]
    apply(state, proposal(2, no("c", "near_duplicate"), yes("d"), no("e", "target_reached")))
    kept = {"input": "x", "output": "y", "accepted": True}
    dropped = {"input": "x", "output": "", "accepted": False, "reason": "empty_output", "evidence": {}}
    apply(state, {"kind": "instances", "id": "a", "form": "output_first", "candidates": [kept, dropped]})
    assert state.instances == {"a": [Instance("x", "y")]} and state.num_instances == 1
    apply(state, {"kind": "classification", "id": "d", "failed": {"reason": "unclear", "detail": ""}})
    assert state.complete and not state.pending()
    summary = run_counts(state).to_json()
    assert summary["candidates"] == {
        "total": 5,
        "accepted": 2,
        "rejected": 3,
        "reasons": {"length": 1, "near_duplicate": 1, "target_reached": 1},
    }
    assert summary["requests"]["proposal"] == {"committed": 2, "failed": 1, "asked_again": 0}
    assert summary["requests"]["classification"] == {"committed": 1, "failed": 1, "asked_again": 0}
    assert summary["failures"] == {"classification: unclear": 1, "proposal: timeout": 1}
    assert summary["tokens"] == {"prompt": 20, "completion": 10}
    assert summary["classification"] == {"yes": 1, "no": 0, "failed": 1, "pending": 0}


def test_what_each_proposer_asked_and_what_came_of_it() -> None:
    state = replayed([HEADER, proposal(0, yes("a"), no("b", "length")), proposal(1, yes("c"), proposer="plan")])
    failed = {"kind": "proposal", "n": 2, "examples": [], "failed": {"reason": "timeout", "detail": ""}}
    apply(state, failed | {"proposer": "plan"})
    assert run_counts(state).to_json()["proposers"] == {
        "list": {"asked": 1, "failed": 0, "candidates": 2, "accepted": 1, "completion_tokens": 5},
        "plan": {"asked": 2, "failed": 1, "candidates": 1, "accepted": 1, "completion_tokens": 5},
    }


def test_a_failed_instance_request_is_done_with() -> None:
    state = replayed([HEADER, proposal(0, yes("a"))])
    apply(state, {"kind": "classification", "id": "a", "is_classification": False})
    apply(state, {"kind": "instances", "id": "a", "form": "input_first", "failed": {"reason": "refused", "detail": ""}})
    assert state.instances == {"a": []} and not state.pending()


def test_replay_of_any_prefix_is_where_the_run_stood(make_config: Any, tmp_path: Path) -> None:
    run_scripted(make_config(), ScriptedEngine(script, latency=0.002, seed=4))
    lines = journal_lines(tmp_path / "run")
    walked = RunState()
    for k, line in enumerate(lines):
        apply(walked, line)
        if k % 17 == 0:
            assert replayed(lines[: k + 1]) == walked
    assert walked.complete


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([proposal(0)], "line 1: the header must be the first line, and no other; restore .* or use the version"),
        ([HEADER, proposal(0), HEADER], "line 3: the header must be the first line"),
        ([HEADER | {"version": 2}], "line 1: it is of version 2"),
        (
            [HEADER, proposal(0), proposal(2)],
            "line 3: it holds proposal 2 where 1 is due; restore .* or let `selfinstruct repair",
        ),
        ([HEADER, proposal(0), proposal(0)], "line 3: it holds proposal 0 where 1 is due"),
        ([HEADER, {"kind": "classification", "id": "a"}], "line 2: it classifies a, which no proposal accepted"),
        ([HEADER, {"kind": "instances", "id": "a"}], "line 2: it has instances of a, which is not classified"),
        (
            [HEADER, {"kind": "output", "id": "a", "instance": 0}],
            "line 2: it rewrites an output in a run that rewrites",
        ),
        (
            [HEADER, {"kind": "control", "event": "resumed", "after_proposal": 0}],
            "line 2: it follows proposal 0 after 0",
        ),
    ],
)
def test_lines_that_are_no_run_are_refused(lines: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replayed(lines)


# --------------------------------------------------------------------------------------------- journals of all sorts


@settings(max_examples=examples(8), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=plans, cut=st.floats(0, 1))
def test_any_journal_replays_to_the_live_state_and_its_sums_add_up_in_any_prefix(
    make_config: Any, tmp_path_factory: pytest.TempPathFactory, plan: Plan, cut: float
) -> None:
    run, live = make_run(plan, tmp_path_factory.mktemp("journal"), make_config)
    raw = (run / "journal.jsonl").read_bytes().splitlines(keepends=True)
    assert [encode(parse(line)) for line in raw] == raw
    lines = journal_lines(run)
    assert replayed(lines) == live, "replay and the running program disagree"
    assert live.complete and live.header.regenerates == plan.is_regenerated
    check_sums(lines[: 1 + round(cut * (len(lines) - 1))])


def check_sums(lines: list[dict[str, Any]]) -> None:
    state = replayed(lines)
    counts = run_counts(state)
    by_kind = Counter(line["kind"] for line in lines)
    for kind, requests in counts.requests.items():
        assert requests.committed + requests.failed == by_kind[kind]
    assert sum(counts.failures.values()) == sum(requests.failed for requests in counts.requests.values())
    candidates = [c for line in lines if line["kind"] == "proposal" for c in line.get("candidates", ())]
    of = counts.candidates
    assert of.total == len(candidates) == of.accepted + of.rejected
    assert of.rejected == sum(of.reasons.values()) and of.accepted == len(state.pool) <= counts.target
    instances = [c for line in lines if line["kind"] == "instances" for c in line.get("candidates", ())]
    of, answers, undecided = counts.instances, counts.answers, 0
    if answers is not None:
        assert answers.total == answers.kept + answers.rejected + answers.failed + answers.pending
        assert answers.rejected == sum(answers.reasons.values()) <= of.rejected
        undecided = answers.failed + answers.pending
    answered = [line["candidates"] for line in lines if line["kind"] == "answer" and "candidates" in line]
    further = sum(len(samples) - 1 for samples in answered)
    assert of.total == len(instances) - undecided + further == of.accepted + of.rejected
    assert of.rejected == sum(of.reasons.values())
    assert of.accepted == sum(map(len, state.instances.values()))
    classified = counts.classification
    assert classified.yes + classified.no + classified.failed + classified.pending == len(state.pool)
    if counts.outputs is not None:
        new = counts.outputs
        assert new.total == new.rewritten + new.unchanged + new.rejected + new.failed + new.pending == of.accepted
        assert new.rejected == sum(new.reasons.values())
    tokens = sum(line.get("completion", {}).get("completion_tokens", 0) for line in lines)
    assert counts.tokens.completion == tokens
