"""What a journal adds up to: replay applies recorded decisions and refuses what is no journal of one run."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.errors import InputError
from selfinstruct.records import Instance, Instruction
from selfinstruct.run.state import RunState, replay
from tests.conftest import journal_lines, run_scripted, script

HEADER = {"kind": "run", "version": 1, "identity": {}, "resolved": {}, "num_instructions": 2}


def proposal(n: int, *candidates: dict[str, Any], **more: Any) -> dict[str, Any]:
    completion = {"text": "...", "finish_reason": "stop", "prompt_tokens": 10, "completion_tokens": 5}
    return {"kind": "proposal", "n": n, "examples": [], "completion": completion, "candidates": list(candidates)} | more


def yes(name: str) -> dict[str, Any]:
    return {"id": name, "instruction": f"Do {name}.", "accepted": True, "nearest_seed": None}


def no(name: str, reason: str) -> dict[str, Any]:
    return {"id": name, "instruction": f"Do {name}.", "accepted": False, "reason": reason, "evidence": {}}


def test_each_kind_of_line() -> None:
    state = RunState()
    state.apply(HEADER)
    assert state.target == 2 and not state.complete
    state.apply(proposal(0, yes("a"), no("b", "length")))
    assert state.pool == [Instruction("a", "Do a.", 0)]
    assert [kind for kind, _ in state.pending()] == ["classification"]
    state.apply({"kind": "proposal", "n": 1, "examples": [], "failed": {"reason": "timeout", "detail": ""}})
    assert state.pool_after == [1, 1] and state.acceptance == [(2, 1), (0, 0)]
    state.apply({"kind": "classification", "id": "a", "completion": None, "is_classification": True})
    assert [kind for kind, _ in state.pending()] == ["instances"]
    state.apply(proposal(2, no("c", "near_duplicate"), yes("d"), no("e", "target_reached")))
    kept = {"input": "x", "output": "y", "accepted": True}
    dropped = {"input": "x", "output": "", "accepted": False, "reason": "empty_output", "evidence": {}}
    state.apply({"kind": "instances", "id": "a", "form": "output_first", "candidates": [kept, dropped]})
    assert state.instances == {"a": [Instance("x", "y")]} and state.num_instances == 1
    state.apply({"kind": "classification", "id": "d", "failed": {"reason": "unclear", "detail": ""}})
    assert state.complete and not state.pending()
    summary = state.summary()
    assert summary["candidates"] == {
        "total": 5,
        "accepted": 2,
        "rejected": 3,
        "reasons": {"length": 1, "near_duplicate": 1, "target_reached": 1},
    }
    assert summary["requests"]["proposal"] == {"committed": 2, "failed": 1}
    assert summary["requests"]["classification"] == {"committed": 1, "failed": 1}
    assert summary["failures"] == {"classification: unclear": 1, "proposal: timeout": 1}
    assert summary["tokens"] == {"prompt": 20, "completion": 10}
    assert summary["classification"] == {"yes": 1, "no": 0, "failed": 1, "pending": 0}


def test_a_failed_instance_request_is_done_with() -> None:
    state = replay([HEADER, proposal(0, yes("a"))])
    state.apply({"kind": "classification", "id": "a", "is_classification": False})
    state.apply({"kind": "instances", "id": "a", "form": "input_first", "failed": {"reason": "refused", "detail": ""}})
    assert state.instances == {"a": []} and not state.pending()


def test_replay_of_any_prefix_is_where_the_run_stood(make_config: Any, tmp_path: Path) -> None:
    run_scripted(make_config(), ScriptedEngine(script, latency=0.002, seed=4))
    lines = journal_lines(tmp_path / "run")
    walked = RunState()
    for k, line in enumerate(lines):
        walked.apply(line)
        if k % 17 == 0:
            assert replay(lines[: k + 1]) == walked
    assert walked.complete


def test_replay_changes_no_line(make_config: Any, tmp_path: Path) -> None:
    run_scripted(make_config())
    lines = journal_lines(tmp_path / "run")
    before = copy.deepcopy(lines)
    replay(lines)
    assert lines == before


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([proposal(0)], "line 1: the header must be the first line"),
        ([HEADER, proposal(0), HEADER], "line 3: the header must be the first line"),
        ([HEADER | {"version": 2}], "line 1: it is of version 2"),
        ([HEADER, proposal(0), proposal(2)], "line 3: it holds proposal 2 where 1 is due"),
        ([HEADER, proposal(0), proposal(0)], "line 3: it holds proposal 0 where 1 is due"),
        ([HEADER, {"kind": "classification", "id": "a"}], "line 2: it has no 'is_classification'"),
        ([HEADER, {"kind": "proposal", "n": 0, "candidates": 7}], "line 2: "),
    ],
)
def test_lines_that_are_no_run_are_refused(lines: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replay(lines)
