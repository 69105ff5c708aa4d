"""`explain`: what the journal says of a candidate, and exact neighbours as the pool stood then."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from selfinstruct.cli import cli
from selfinstruct.engines.base import Request
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.errors import InputError
from selfinstruct.records import Completion
from selfinstruct.replay.explain import explain
from selfinstruct.replay.explanation_text import render
from tests import rouge
from tests.conftest import Once, journal_lines, run_scripted, script


@pytest.fixture
def run(make_config: Any, tmp_path: Path, once: Once) -> Path:
    once(lambda: run_scripted(make_config(num_instructions=40)))
    return tmp_path / "run"


def by_hand(run: Path, seed_rows: list[dict[str, Any]]) -> list[tuple[int, dict[str, Any], dict[str, Any], list[Any]]]:
    """(line number, proposal line, candidate, everything earlier as (id, text)) of each candidate."""
    earlier = [(row["id"], row["instruction"]) for row in seed_rows]
    found = []
    for number, line in enumerate(journal_lines(run), 1):
        for candidate in line.get("candidates", ()) if line["kind"] == "proposal" else ():
            found.append((number, line, candidate, list(earlier)))
            if candidate["accepted"]:
                earlier.append((candidate["id"], candidate["instruction"]))
    return found


def test_every_candidate_is_explained_as_recorded_with_exact_neighbours(
    run: Path, seed_rows: list[dict[str, Any]]
) -> None:
    oracle = rouge.scorer()
    reasons = set()
    for number, line, candidate, earlier in by_hand(run, seed_rows)[::5]:
        (explained,) = explain(run, candidate["id"], top=3).candidates
        reasons.add(explained.reason)
        assert (explained.journal_line, explained.proposal) == (number, line["n"])
        assert explained.accepted == candidate["accepted"] and explained.instruction == candidate["instruction"]
        assert explained.reason == candidate.get("reason")
        assert [e.id for e in explained.examples] == line["examples"] and all(e.instruction for e in explained.examples)
        scores = [oracle.score(text, candidate["instruction"])["rougeL"].fmeasure for _, text in earlier]
        assert [near.score for near in explained.similar] == pytest.approx(sorted(scores, reverse=True)[:3])
        assert explained.similar[0].id == earlier[scores.index(max(scores))][0]
        if candidate.get("reason") == "near_duplicate":
            assert explained.evidence["nearest"]["id"] == explained.similar[0].id
    assert {None, "near_duplicate"} <= reasons


def test_an_accepted_one_comes_with_its_follow_ups(run: Path) -> None:
    lines = journal_lines(run)
    kinds = {(line["kind"], bool(line.get("failed"))): line for line in lines[1:] if "id" in line}
    for (kind, failed), line in kinds.items():
        explained = explain(run, line["id"]).candidates[0]
        answer = getattr(explained, kind)
        assert answer.journal_line == lines.index(line) + 1
        assert msgspec.to_builtins(answer.failed) == line.get("failed")
        if kind == "instances":
            assert explained.classification.is_classification in (True, False)
            assert failed or list(msgspec.to_builtins(answer.candidates)) == line["candidates"]
    assert set(kinds) >= {("classification", False), ("classification", True), ("instances", False)}


def test_a_prompt_without_examples_is_called_one(run: Path) -> None:
    explanation = explain(run, "p000000-00")
    assert "; it showed:\n" in render(explanation)
    alone = replace(explanation.candidates[0], examples=())
    assert "; it showed no other instruction\n" in render(replace(explanation, candidates=(alone,)))


def test_a_text_written_twice_is_explained_twice(make_config: Any, tmp_path: Path) -> None:
    def stubborn(request: Request) -> Completion:
        if request.key.startswith("proposal"):
            return Completion(" Name  three rivers of this continent.\n", "stop")
        return script(request)

    with pytest.raises(Exception, match="saturated"):
        run_scripted(make_config(window=1, saturation={"window": 9}), ScriptedEngine(stubborn))
    first, *later = explain(tmp_path / "run", "Name three rivers\nof this continent.").candidates
    assert first.accepted and [candidate.accepted for candidate in later] == [False] * 9
    assert {candidate.reason for candidate in later} == {"identical"}
    assert {candidate.similar[0].id for candidate in later} == {"p000000-00"}
    assert first.similar[0].origin == "seed", "it is not its own neighbour"
    assert "5 more proposals wrote this text" in render(
        explain(tmp_path / "run", "Name three rivers of this continent.")
    )


def test_a_text_that_nobody_wrote_is_judged_now(run: Path, seed_rows: list[dict[str, Any]]) -> None:
    before = (run / "journal.jsonl").read_bytes()
    assert explain(run, "Draw a map of the town.").now.reason == "keyword"
    assert explain(run, "Too short").now.evidence == {"words": 2, "min_words": 4}
    assert explain(run, "Recount whatever moonlit zebras would whisper tonight.").now.accepted
    accepted = next(c["instruction"] for _, _, c, _ in by_hand(run, seed_rows) if c["accepted"])
    now = explain(run, accepted.upper()).now
    assert (now.reason, now.evidence["nearest"]["score"]) == ("identical", 1.0)
    assert now.similar[0].instruction == accepted
    assert (run / "journal.jsonl").read_bytes() == before


def test_a_seed_is_called_one(run: Path, seed_rows: list[dict[str, Any]]) -> None:
    for query in (seed_rows[3]["instruction"], "s3"):
        explanation = explain(run, query)
        assert explanation.seed.id == "s3" and explanation.now is None and "is a seed task" in render(explanation)


def test_ids_that_are_not_there_and_seeds_that_changed(run: Path, seed_file: Path) -> None:
    with pytest.raises(InputError, match=r"no candidate p999999-00; the run's last proposal is p0000\d\d"):
        explain(run, "p999999-00")
    seed_file.write_text(seed_file.read_text().replace("old trains", "new trains"))
    with pytest.raises(InputError, match="changed since the run began"):
        explain(run, "anything at all")


def test_hostile_text_does_not_reach_the_terminal(make_config: Any, tmp_path: Path) -> None:
    def nasty(request: Request) -> Completion:
        answer = script(request)
        text = "\x1b[31mred \u202e\ud800 and NUL \x00 here today"
        if request.key.startswith("proposal"):
            return Completion(f"{text}\n{answer.text}", "stop")
        return Completion(f"Example 1\nInput: {text}\nOutput: {text}" if "instances" in request.key else " No", "stop")

    run_scripted(make_config(num_instructions=6), ScriptedEngine(nasty))
    for query in ("p000000-00", "p000000-01", "p000001-02"):
        shown = CliRunner().invoke(cli, ["explain", str(tmp_path / "run"), query])
        assert shown.exit_code == 0, shown.output
        assert "\\x1b[31m" in shown.output or "accepted" in shown.output
        assert not {"\x1b", "\x00", "\u202e"} & set(shown.output)
        as_json = CliRunner().invoke(cli, ["explain", str(tmp_path / "run"), query, "--json"])
        assert json.loads(as_json.stdout)["candidates"][0]["id"] == query


def test_the_command(run: Path, tmp_path: Path) -> None:
    def invoke(*arguments: Any) -> Any:
        return CliRunner().invoke(cli, ["explain", str(run), *map(str, arguments)])

    shown = invoke("p000000-00", "--top", 10).stdout
    assert "p000000-00" in shown and "most similar earlier instructions (ROUGE-L F):" in shown
    for wrong in ([], ["--similar-all"], ["x", "--similar-all", "-o", "f"], ["x", "-o", "f"], ["x", "--sample", 3]):
        assert invoke(*wrong).exit_code == 2, wrong
    done = invoke("--similar-all", "--sample", 5, "-o", tmp_path / "s.jsonl")
    assert done.exit_code == 0 and done.stdout == "" and len((tmp_path / "s.jsonl").read_text().splitlines()) == 5


def test_the_keys_of_the_json_stay(run: Path) -> None:
    def as_json(query: str) -> Any:
        return json.loads(CliRunner().invoke(cli, ["explain", str(run), query, "--json"]).stdout)

    lines = journal_lines(run)
    instances = next(line for line in lines if line["kind"] == "instances" and line.get("candidates"))
    explanation = as_json(instances["id"])
    assert list(explanation) == ["query", "candidates", "seed", "now"]
    (candidate,) = explanation["candidates"]
    assert list(candidate) == [
        *("id", "instruction", "accepted", "reason", "evidence", "journal_line", "proposal"),
        *("proposer", "variant", "topic", "user", "depth"),
        *("examples", "similar", "classification", "instances", "answers", "outputs", "scores", "tags"),
        *("is_whole", "begun", "instance"),
    ]
    assert list(candidate["evidence"]) == ["nearest_seed"]
    assert list(candidate["examples"][0]) == ["id", "instruction"]
    assert list(candidate["similar"][0]) == ["id", "origin", "instruction", "score"]
    answer = ["journal_line", "failed", "answer"]
    assert list(candidate["classification"]) == [*answer, "is_classification"]
    assert list(candidate["instances"]) == [*answer, "form", "candidates"]
    known = {k: v for k, v in candidate["instances"]["answer"].items() if v not in (None, [])}
    assert known == instances["completion"]
    assert candidate["instances"]["candidates"] == instances["candidates"]
    now = as_json("Recount whatever moonlit zebras would whisper tonight.")["now"]
    assert list(now) == ["accepted", "reason", "evidence", "similar"]
    assert list(as_json("s3")["seed"]) == ["id", "instruction"]
