"""Follow-ups that failed and are asked again: journaled each time, the same wherever a run was cut, and counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.engines.base import Request, RequestFailed
from selfinstruct.engines.scripted import Answer, ScriptedEngine
from selfinstruct.errors import InputError
from selfinstruct.records import Completion
from selfinstruct.replay.refilter import refilter
from selfinstruct.replay.repair import repair
from selfinstruct.run.counting import run_counts
from selfinstruct.run.directory import RunDirectory
from tests.conftest import journal_lines, replayed, run_scripted, script


def unreadable(*, tries: int) -> Any:
    """Answer what cannot be read in the first `tries` tries of each classification and each request for instances."""

    def answer(request: Request) -> Answer:
        kind, _, rest = request.key.partition("/")
        again = int(rest.rpartition("/again")[2]) if "/again" in rest else 0
        if kind == "classification":
            return Completion(" Maybe" if again < tries else " No", "stop", 10, 1)
        if kind == "instances":
            return Completion("" if again < tries else "Example 1\nInput: a\nOutput: b of it", "stop", 10, 5)
        return script(request)

    return answer


def test_what_could_not_be_read_is_asked_again_with_another_seed(make_config: Any, tmp_path: Path) -> None:
    engine = ScriptedEngine(unreadable(tries=1))
    state = run_scripted(make_config(max_retries=1, answering="inline"), engine)
    counts = run_counts(state)
    wanted = len(state.pool)
    assert state.complete and counts.instructions_with_instances == wanted
    assert counts.classification.failed == 0 and counts.classification.no == wanted
    for kind in ("classification", "instances"):
        requests = counts.requests[kind]
        assert (requests.committed, requests.failed, requests.asked_again) == (wanted, wanted, wanted)
    again = [line for line in journal_lines(tmp_path / "run") if "again" in line]
    assert {line["again"] for line in again} == {1} and all(line["failed"] for line in again)
    keys = [request.key for request in engine.history]
    assert len(keys) == len(set(keys)), "the seed of a request is made from its key"


def test_the_last_try_decides(make_config: Any) -> None:
    state = run_scripted(make_config(max_retries=2), ScriptedEngine(unreadable(tries=3)))
    counts, wanted = run_counts(state), len(state.pool)
    assert state.complete and counts.classification.failed == wanted
    assert (counts.requests["classification"].failed, counts.requests["classification"].asked_again) == (
        3 * wanted,
        2 * wanted,
    )
    assert counts.failures == {"classification: unparsable_classification": 3 * wanted}


def test_without_retries_a_failure_is_final(make_config: Any, tmp_path: Path) -> None:
    state = run_scripted(make_config(max_retries=0), ScriptedEngine(unreadable(tries=1)))
    assert run_counts(state).classification.failed == len(state.pool)
    assert not any("again" in line for line in journal_lines(tmp_path / "run"))


@pytest.mark.parametrize(("reason", "tries"), [("timeout", 2), ("prompt_too_long", 1), ("refused", 1)])
def test_only_what_may_pass_is_asked_again(make_config: Any, reason: str, tries: int) -> None:
    def fail(request: Request) -> Answer:
        return RequestFailed(reason) if request.key.startswith("answer/") else script(request)

    state = run_scripted(make_config(max_retries=1, answering="separate"), ScriptedEngine(fail))
    answers = run_counts(state).answers
    assert answers is not None and answers.total == answers.failed > 0
    assert state.usage["answer"].failed == tries * answers.total
    assert answers.total == answers.kept + answers.rejected + answers.failed + answers.pending


def test_a_greedy_request_is_not_made_in_the_same_way_again(make_config: Any) -> None:
    engine = ScriptedEngine(unreadable(tries=1))
    run_scripted(make_config(max_retries=1, instances={"temperature": 0.0}), engine)
    heat = {("/again" in r.key, r.sampling.temperature) for r in engine.history if r.key.startswith("instances")}
    assert heat == {(False, 0.0), (True, 0.7)}


def test_a_run_that_is_stopped_anywhere_asks_the_same_again(make_config: Any, tmp_path: Path) -> None:
    options = {"max_retries": 2, "num_instructions": 8, "answering": "separate"}

    def answer(request: Request) -> Answer:
        if request.key.startswith("answer/") and "/again2" not in request.key:
            return RequestFailed("timeout")
        return unreadable(tries=1)(request)

    run_scripted(make_config(**options, output_dir=str(tmp_path / "whole")), ScriptedEngine(answer))
    whole = journal_lines(tmp_path / "whole")
    for kept in range(1, len(whole), 5):
        folder = tmp_path / f"cut-{kept}"
        folder.mkdir()
        (folder / "journal.jsonl").write_bytes(b"".join(json.dumps(line).encode() + b"\n" for line in whole[:kept]))
        engine = ScriptedEngine(answer, latency=0.002, seed=kept)
        assert run_scripted(make_config(**options, output_dir=str(folder)), engine).complete
        assert sorted(map(json.dumps, journal_lines(folder))) == sorted(map(json.dumps, whole))


def test_a_doubled_or_missing_try_is_damage(make_config: Any, tmp_path: Path) -> None:
    config = make_config(max_retries=2, num_instructions=4)
    whole = run_counts(run_scripted(config, ScriptedEngine(unreadable(tries=2))))
    lines = journal_lines(tmp_path / "run")
    first = next(k for k, line in enumerate(lines) if line.get("again") == 1)
    with pytest.raises(InputError, match=r"asks for try 1 of .* after 1"):
        replayed([*lines[: first + 1], lines[first]])
    with pytest.raises(InputError, match="after 0"):
        replayed([*lines[:first], *lines[first + 1 :]])
    journal = tmp_path / "run" / "journal.jsonl"
    doubled = [*lines[: first + 1], *lines[first:]]
    journal.write_bytes(b"".join(json.dumps(line).encode() + b"\n" for line in doubled))
    assert repair(tmp_path / "run").lines.dropped == 1
    assert run_counts(RunDirectory(tmp_path / "run").state()) == whole


def test_refilter_keeps_further_tries(make_config: Any, tmp_path: Path) -> None:
    config = make_config(max_retries=1)
    before = run_counts(run_scripted(config, ScriptedEngine(unreadable(tries=1))))
    refilter(tmp_path / "run", tmp_path / "again", config.filters.model_copy(update={"threshold": 0.71}))
    after = run_counts(RunDirectory(tmp_path / "again").state())
    assert after.requests["classification"].asked_again > 0
    assert after.classification.failed == before.classification.failed == 0
