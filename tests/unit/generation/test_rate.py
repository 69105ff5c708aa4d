"""Rating a run: from its answers to score lines, and from these to decisions and rows."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from selfinstruct.chain import chain
from selfinstruct.cli import cli
from selfinstruct.config.schema import Config
from selfinstruct.config.scoring import Rate, Scores
from selfinstruct.engines.base import Engine, Request, RequestFailed
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.errors import ConfigError, EngineError, InputError
from selfinstruct.formats import jsonl
from selfinstruct.generation.rate import RateResult, rate
from selfinstruct.records import Completion
from selfinstruct.replay.explain import explain
from selfinstruct.replay.refilter import refilter
from selfinstruct.replay.refilter_result import render
from selfinstruct.replay.repair import repair
from selfinstruct.replay.show import rows
from selfinstruct.replay.status import status
from selfinstruct.report.collect import collect
from selfinstruct.report.page import write_report
from selfinstruct.run.counting import run_counts
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.lines import ScoreLine
from tests.conftest import Once, journal_lines, run_scripted, script
from tests.faulty_server import MODEL, FaultyServer


def speaks(request: Request) -> Completion:
    """A model whose samples differ."""
    if not request.key.startswith("answer/"):
        return script(request)
    draw = random.Random(f"{request.key} {request.prompt}")
    return Completion(f"The {draw.choice(['old', 'new', 'red'])} one, as far as it is known.", "stop", 7, 20)


def grade(request: Request) -> Completion:
    """A judge whose grade is a function of the prompt."""
    digit = hashlib.sha256(str(request.prompt).encode()).digest()[0] % 5 + 1
    return Completion(str(digit), "stop", 50, 1)


def judge(script: Callable[[Request], Any] = grade, **options: Any) -> ScriptedEngine:
    return ScriptedEngine(script, has_chat_template=True, **options)


def rated(config: Config, engine: Engine | None = None, **options: Any) -> RateResult:
    async def start() -> Engine:
        return engine if engine is not None else judge()

    return rate(config.model_copy(update={"rate": Rate(**options)}), start)


@pytest.fixture
def config(make_config: Any, once: Once) -> Config:
    made: Config = make_config(answering="separate", answer={"num_samples": 3, "temperature": 0.7}, num_instructions=12)
    once(lambda: run_scripted(made, ScriptedEngine(speaks, has_chat_template=True)))
    return made


@pytest.fixture
def run(config: Config) -> RunDirectory:
    return RunDirectory.at(config.output_dir)


def about_answers(engine: ScriptedEngine) -> list[Request]:
    """What was asked about the run's answers; the judge is tried on the seeds before."""
    return [request for request in engine.history if request.key.startswith("score/judge/p0")]


def scores(run: RunDirectory) -> list[dict[str, Any]]:
    return [line for line in journal_lines(run.path) if line["kind"] == "score"]


def test_the_report_shows_the_scores_and_their_spread(config: Config, run: RunDirectory) -> None:
    rated(config)
    (shown,) = collect(run.path).rated
    values = sorted(line["value"] for line in scores(run))
    assert shown.values == values and shown.failed == 0
    assert shown.quantiles == sorted(shown.quantiles) and shown.quantiles[2] == values[(len(values) - 1) // 2]
    by_question: dict[tuple[str, int], list[float]] = {}
    for line in scores(run):
        by_question.setdefault((line["id"], line.get("instance", 0)), []).append(line["value"])
    spreads = [max(some) - min(some) for some in by_question.values() if len(some) > 1]
    assert shown.spread == pytest.approx(sum(spreads) / len(spreads))
    assert "Scores of the answers" in write_report(run.path).read_text()


def test_every_answer_that_passes_the_filters_gets_a_score(config: Config, run: RunDirectory) -> None:
    before = run.journal.read_bytes()
    lines = journal_lines(run.path)
    passing = [
        (line["id"], line.get("instance", 0) if line["kind"] == "answer" else k, k if line["kind"] == "answer" else 0)
        for line in lines
        if line["kind"] in ("instances", "answer") and line.get("form") != "input_only"
        for k, one in enumerate(line.get("candidates", ()))
        if one["accepted"] or one["reason"] == "not_chosen"
    ]
    result = rated(config)
    assert run.journal.read_bytes().startswith(before)
    found = scores(run)
    assert sorted((line["id"], line["instance"], line["sample"]) for line in found) == sorted(passing)
    assert (result.before, result.scored, result.failed) == (0, len(passing), 0)
    assert {(line["scorer"], line["model"]) for line in found} == {("judge", "scripted")}
    assert all(line["value"] == float(line["completion"]["text"]) for line in found)
    assert run.state().num_instances == sum(len(task.instances) for task in run.state().tasks())


def test_the_lines_are_the_same_whatever_the_latencies(config: Config, run: RunDirectory) -> None:
    before = run.journal.read_bytes()
    journals = set()
    for seed in (1, 2):
        run.journal.write_bytes(before)
        rated(config, judge(latency=0.003, seed=seed))
        journals.add(run.journal.read_bytes())
    assert len(journals) == 1


@pytest.mark.parametrize("after", [0, 1, 7])
def test_a_rating_that_was_stopped_goes_on_to_the_same_journal(config: Config, run: RunDirectory, after: int) -> None:
    before = run.journal.read_bytes()
    rated(config)
    whole = run.journal.read_bytes()
    run.journal.write_bytes(before)
    asked = 0

    def dies(request: Request) -> Any:
        nonlocal asked
        asked += request.key.startswith("score/judge/p0")
        return grade(request) if asked <= after else EngineError("gone")

    with pytest.raises(EngineError):
        rated(config, judge(dies))
    assert whole.startswith(run.journal.read_bytes())
    again = judge()
    result = rated(config, again)
    assert run.journal.read_bytes() == whole
    assert result.before == len(scores(run)) - len(about_answers(again))


def test_a_journal_cut_anywhere_in_the_scores_goes_on(config: Config, run: RunDirectory) -> None:
    before = len(run.journal.read_bytes())
    rated(config)
    whole = run.journal.read_bytes()
    for cut in range(before, len(whole), max(1, (len(whole) - before) // 7)):
        run.journal.write_bytes(whole[:cut])
        rated(config)
        assert run.journal.read_bytes() == whole


def test_a_finished_rating_asks_nothing_and_what_failed_is_tried_again(config: Config, run: RunDirectory) -> None:
    def refuses(request: Request) -> Any:
        return RequestFailed("refused") if "/0/1" in request.key else grade(request)

    first = rated(config, judge(refuses))
    assert first.failed and first.failed == len([line for line in scores(run) if "failed" in line])
    engine = judge()
    second = rated(config, engine)
    assert (len(about_answers(engine)), second.scored, second.failed) == (first.failed, first.failed, 0)
    idle = judge()
    assert rated(config, idle).before == first.scored + first.failed and not idle.history
    counts = run_counts(run.state())
    assert counts.requests["score"].failed == first.failed
    assert counts.requests["score"].committed == counts.scores[0].scored == first.scored + second.scored
    assert counts.scores[0].failed == 0


def test_several_scorers_score_the_same_answers(config: Config, run: RunDirectory, tmp_path: Path) -> None:
    rated(config)
    rubric = tmp_path / "rubric.txt"
    rubric.write_text("5: short")
    rated(config, rubric=str(rubric))
    rated(config, scorer="consistency")
    shown = status(run.path).counts.scores
    assert [(one.scorer, one.scored > 0) for one in shown] == [("judge", True), ("judge", True), ("consistency", True)]
    assert shown[0].version != shown[1].version
    some = next(row for row in rows(run.path) if row.scores)
    assert some.scores.keys() == {"judge", "consistency"}


def test_rating_changes_no_later_proposal(config: Config, run: RunDirectory, tmp_path: Path) -> None:
    rated(config)
    more = config.model_copy(update={"num_instructions": 20})
    run_scripted(more, ScriptedEngine(speaks, has_chat_template=True))
    alone = more.model_copy(update={"output_dir": str(tmp_path / "alone")})
    for target in (12, 20):
        one = alone.model_copy(update={"num_instructions": target})
        run_scripted(one, ScriptedEngine(speaks, has_chat_template=True))
    others = [line for line in journal_lines(run.path) if line["kind"] != "score"]
    assert others == journal_lines(tmp_path / "alone")


def test_a_judge_at_an_endpoint_writes_its_grades(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The command, with all that is between it and a server; an endpoint tells no probabilities."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    with FaultyServer(grade, chat=True) as server:
        words = ["rate", str(run.path), "--model", MODEL, "--endpoint", server.url]
        result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0, result.output
    found = scores(run)
    assert found and {line["value"] for line in found} <= {1.0, 2.0, 3.0, 4.0, 5.0}
    assert {line["model"] for line in found} == {MODEL}
    asked = [body for body in server.bodies if "Grade the answer" in str(body["messages"])]
    assert len(asked) == len(found)


@pytest.mark.parametrize("blind", [True, False])
def test_a_scorer_is_tried_on_known_answers(
    config: Config, run: RunDirectory, capsys: pytest.CaptureFixture[str], blind: bool
) -> None:
    def judges(request: Request) -> Completion:
        right = not blind and request.key.endswith("/0")
        return Completion("5" if right else "2", "stop", 50, 1)

    result = rated(config.model_copy(update={"seeds": ("seed_tasks",)}), judge(judges))
    assert result.auc == (0.5 if blind else 1.0)
    said = " ".join(capsys.readouterr().err.split())
    assert ("has a better score than another seed's in 50% of the pairs" in said) == blind
    noted = [row for _, row in jsonl.read(run.metrics_path) if row.get("event") == "scorer_checked"]
    assert [(row["name"], row["auc"]) for row in noted] == [("judge", result.auc)]


# -------------------------------------------------------------------------------------------------- deciding by them


def test_the_best_answer_of_each_input_is_kept(config: Config, run: RunDirectory, tmp_path: Path) -> None:
    rated(config)
    refilter(run.path, tmp_path / "best", config.filters, "best")
    known = {(line["id"], line["instance"], line["sample"]): line["value"] for line in scores(run)}
    lines = [line for line in journal_lines(tmp_path / "best") if line["kind"] == "answer"]
    assert any(not line["candidates"][0]["accepted"] for line in lines)
    for line in lines:
        of = {k: known[line["id"], line["instance"], k] for k, one in enumerate(line["candidates"])}
        (kept,) = [k for k, one in enumerate(line["candidates"]) if one["accepted"]]
        assert kept == max(of, key=lambda k: of[k])
    assert [line for line in journal_lines(tmp_path / "best") if line["kind"] == "score"] == scores(run)


def test_the_commands_rate_choose_and_say_so(config: Config, run: RunDirectory, tmp_path: Path) -> None:
    rated(config)
    options = ["--answer.keep", "best", "--min-best", "30%", "--scorer", "judge"]
    result = CliRunner().invoke(cli, ["refilter", str(run.path), *options, "-o", str(tmp_path / "chosen")])
    assert result.exit_code == 0 and "low_best" in result.output, result.output
    said = " ".join(result.output.split())
    assert "scores.scorer (not set) -> judge, scores.min_best (not set) -> 30%, answer.keep first -> best" in said
    least = min(
        one["evidence"]["bound"]
        for line in journal_lines(tmp_path / "chosen")
        for one in line.get("candidates", ())
        if one.get("reason") == "low_best"
    )
    assert f"min_best 30% of the scores by judge: {least:g} " in f"{said} "
    shown = CliRunner().invoke(cli, ["status", str(tmp_path / "chosen")]).output
    assert "by judge scripted: " in shown and "quartiles" in shown
    chosen = RunDirectory(tmp_path / "chosen").config()
    assert (chosen.answer.keep, chosen.scores.min_best) == ("best", "30%")
    again = CliRunner().invoke(cli, ["refilter", str(tmp_path / "chosen"), "-o", str(tmp_path / "again"), "--json"])
    assert again.exit_code == 0, again.output
    assert journal_lines(tmp_path / "again")[1:] == journal_lines(tmp_path / "chosen")[1:]


def test_inputs_with_low_scores_go_with_the_evidence(config: Config, run: RunDirectory, tmp_path: Path) -> None:
    rated(config)
    result = refilter(run.path, tmp_path / "high", config.filters, scores=Scores(min_best="4"))
    gone = result.instances.reasons["low_best"]
    assert gone and result.instances.dropped and result.instances.kept
    for line in journal_lines(tmp_path / "high"):
        for one in line.get("candidates", ()):
            if one.get("reason") == "low_best":
                assert one["evidence"]["score"] < one["evidence"]["bound"] == 4.0
    # The same run, decided again without bounds, is the first one.
    refilter(tmp_path / "high", tmp_path / "back", config.filters, scores=Scores())
    assert journal_lines(tmp_path / "back")[1:] == journal_lines(run.path)[1:]
    state = run_scripted(RunDirectory(tmp_path / "high").config(), judge(speaks))
    assert state.num_instances == result.instances.kept


def test_a_share_by_which_nothing_goes_says_why(config: Config, run: RunDirectory, tmp_path: Path) -> None:
    rated(config, judge(lambda request: Completion("2", "stop", 50, 1)))
    bounds = Scores(min_best="30%", max_spread="1")
    result = refilter(run.path, tmp_path / "same", config.filters, scores=bounds)
    assert result.instances.kept == result.instances.before
    said = render(result).splitlines()
    assert (
        "min_best 30% of the scores by judge: 2, and it removes no input: a share takes whole inputs, and"
        in " ".join(said)
    )
    assert "max_spread 1 of the scores by judge: 1, and it removes no input" in said
    assert not any(
        "scores by" in text for text in render(refilter(run.path, tmp_path / "as", config.filters)).splitlines()
    )


def test_unrated_runs_cannot_be_chosen_from(
    config: Config, run: RunDirectory, tmp_path: Path, make_config: Any
) -> None:
    for options in ({"keep": "best"}, {"scores": Scores(min_worst="10%")}):
        with pytest.raises(ConfigError, match="first: selfinstruct rate"):
            refilter(run.path, tmp_path / "new", config.filters, **options)
    for begun in ({"scores": {"min_best": 3}}, {"answer": {"keep": "best"}}):
        with pytest.raises(ConfigError, match="a new run has no scores to decide by"):
            run_scripted(make_config(output_dir=str(tmp_path / "fresh"), **begun))


def test_the_best_rows_are_exported(config: Config, run: RunDirectory) -> None:
    values = {"select": 4, "select_by": "best", "validation_seen": 0.0, "validation_unseen": 0.0}
    best = config.model_copy(update={"export": config.export.model_copy(update=values)})
    with pytest.raises(ConfigError, match="first: selfinstruct rate"):
        chain.export(best)
    rated(config)
    chain.export(best)
    known = {row.id: row.scores["judge"] for row in rows(run.path)}
    exported = [row["id"] for _, row in jsonl.read(run.dataset.split("train"))]
    assert sorted(known[name] for name in exported) == sorted(known.values())[-4:]
    assert run.dataset.export_counts().instances.left_out == {"not_selected": len(known) - 4}


# ------------------------------------------------------------------------------------------------- looking at them


def test_explain_shows_the_scores(config: Config, run: RunDirectory) -> None:
    rated(config)
    line = scores(run)[0]
    (found,) = explain(run.path, line["id"]).candidates
    assert [one.value for one in found.scores] == [s["value"] for s in scores(run) if s["id"] == line["id"]]
    shown = CliRunner().invoke(cli, ["explain", str(run.path), line["id"]]).output
    assert f"by judge scripted: {line['value']:g}" in shown or f"judge scripted: {line['value']:g}" in shown


def test_repair_drops_scores_whose_answer_is_gone(config: Config, run: RunDirectory) -> None:
    rated(config)
    raw = run.journal.read_bytes().splitlines(keepends=True)
    gone = next(k for k, line in enumerate(raw) if b'"kind":"answer"' in line)
    lost = [line for line in scores(run) if f'"id":"{line["id"]}"'.encode() in raw[gone]]
    run.journal.write_bytes(b"".join([*raw[:gone], b"{broken\n", *raw[gone + 1 :]]))
    result = repair(run.path)
    assert [(drop.kind, drop.why, drop.lines) for drop in result.dropped] == [
        ("score", "its answer is gone", len([s for s in lost if s["instance"] == 0]))
    ]
    run.state()


def test_a_score_line_that_no_program_writes_is_refused(config: Config, run: RunDirectory) -> None:
    state = run.state()
    known = next(iter(state.instances))
    with pytest.raises(ValueError, match="which is missing"):
        state.apply(ScoreLine("p999999-00", 0, 0, "judge", value=1.0))
    with pytest.raises(ValueError, match="which is missing"):
        state.apply(ScoreLine(known, 77, 0, "judge", value=1.0))


def test_what_cannot_be_rated_is_said(config: Config, run: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no answer that verified can score"):
        rated(config, scorer="verified")
    with pytest.raises(ConfigError, match="cannot be read"):
        rated(config, rubric=str(tmp_path / "none.txt"))
    for options in (
        {"scorer": "reward"},
        {"scorer": "consistency", "model": "m"},
        {"scorer": "verified", "rubric": "r"},
    ):
        with pytest.raises(ValueError, match=r"leave|name one"):
            Rate(**options)
    result = CliRunner().invoke(cli, ["rate", str(run.path), "--scorer", "consistency"])
    assert result.exit_code == 0, result.output
    assert "answers" in result.output
