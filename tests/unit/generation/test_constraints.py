"""Constraints on rows: which instructions get them, what becomes of answers that break them, and how they replay."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from selfinstruct.chain import chain
from selfinstruct.cli import cli
from selfinstruct.config.schema import Config, Filters
from selfinstruct.constraints import TRAINING, TYPES, keeps
from selfinstruct.engines.base import Request
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.generation.filters.constraint import constraint
from selfinstruct.generation.filters.row import Row
from selfinstruct.generation.regenerate import regenerate
from selfinstruct.records import Completion, Constraint, with_constraints
from selfinstruct.replay.explain import explain
from selfinstruct.replay.explanation_text import render
from selfinstruct.replay.refilter import refilter
from selfinstruct.replay.show import rows as shown_rows
from selfinstruct.run.journal import read_lines
from selfinstruct.run.lines import AnswerLine, OutputLine
from tests.conftest import journal_lines, replayed, run_scripted, script

OPTIONS: dict[str, Any] = {"answering": "separate", "constraints": {"share": 0.7, "max": 2}, "num_instructions": 30}
SAID = [
    "A boat lies in the harbour.",
    "a small boat",
    'He said "yes": three boats (or four); fine?\n\n- one\n\nP.S. 12 and 13.',
]

BAD = "- I think that **jkqvxz** is always good, and some say so: a\n\nb\nc\nd\ne, \nf\n\ng\n\nh\n\ni"
"""Keeps hardly any constraint."""


def answers_variously(request: Request) -> Completion:
    if not request.key.startswith("answer/"):
        return script(request)
    sample = int(request.key.partition("#")[2] or 0)
    first = random.Random(str(request.prompt)).randrange(3)
    return Completion(SAID[(first + sample) % 3], "stop", 5, 5)


def engine(**options: Any) -> ScriptedEngine:
    return ScriptedEngine(answers_variously, has_chat_template=True, **options)


def answer_lines(run: Path) -> list[AnswerLine]:
    return [line for line in read_lines(run / "journal.jsonl") if isinstance(line, AnswerLine) and line.candidates]


def run_it(make_config: Any, **options: Any) -> tuple[Config, ScriptedEngine, list[AnswerLine]]:
    config, asked = make_config(**{**OPTIONS, **options}), engine()
    run_scripted(config, asked)
    return config, asked, answer_lines(Path(str(config.output_dir)))


def test_a_share_of_the_instructions_gets_constraints_of_training_types(make_config: Any, tmp_path: Path) -> None:
    _, asked, lines = run_it(make_config)
    with_some = {line.id for line in lines if line.constraints}
    assert 0.3 < len(with_some) / len({line.id for line in lines}) < 1
    assert {len(line.constraints) for line in lines} == {0, 1, 2}
    assert {one.type for line in lines for one in line.constraints} <= set(TRAINING)
    texts = {i.id: i.text for i in replayed(journal_lines(tmp_path / "run")).pool}
    prompts = {request.key: request.prompt for request in asked.history}
    for line in lines:
        (message,) = prompts[f"answer/{line.id}/{line.instance}"]
        assert message["content"].startswith(with_constraints(texts[line.id], line.constraints))


def test_an_answer_that_breaks_one_is_rejected_with_its_sentence(make_config: Any) -> None:
    _, _, lines = run_it(make_config)
    checked = [(line, line.candidates[0]) for line in lines if line.constraints]
    for line, candidate in checked:
        assert candidate.verified == tuple(keeps(candidate.output, one) for one in line.constraints)
        broken = [one.text for one in line.constraints if not keeps(candidate.output, one)]
        if candidate.reason == "constraint":
            assert candidate.evidence == {"broken": broken}
        assert not (candidate.accepted and broken)
    assert {candidate.accepted for _, candidate in checked} == {True, False}


def test_no_run_has_constraints_by_default(make_config: Any) -> None:
    _, _, lines = run_it(make_config, constraints={})
    assert lines and not any(line.constraints or line.candidates[0].verified for line in lines)


def test_of_several_answers_the_first_that_keeps_them_is_kept(make_config: Any) -> None:
    _, _, lines = run_it(make_config, answer={"num_samples": 3})
    later = 0
    for line in lines:
        kept = [position for position, one in enumerate(line.candidates) if one.accepted]
        assert len(kept) <= 1
        if line.constraints and kept:
            assert all(line.candidates[kept[0]].verified)
            later += kept[0] > 0 and line.candidates[0].reason == "constraint"
    assert later


def test_the_same_answers_give_the_same_lines_whatever_the_latencies(make_config: Any, tmp_path: Path) -> None:
    run_scripted(make_config(**OPTIONS), engine())
    slow = make_config(**OPTIONS, output_dir=str(tmp_path / "slow"))
    run_scripted(slow, engine(latency=0.002, seed=3))
    one, other = (sorted(map(json.dumps, journal_lines(tmp_path / name))) for name in ("run", "slow"))
    assert one == other


def test_refilter_replays_them_and_can_keep_what_was_not_verified(make_config: Any, tmp_path: Path) -> None:
    config, _, lines = run_it(make_config, answer={"num_samples": 3})
    refilter(tmp_path / "run", tmp_path / "same", config.filters)
    before, same = ((tmp_path / run / "journal.jsonl").read_bytes().splitlines()[1:] for run in ("run", "same"))
    assert before == same
    refilter(tmp_path / "run", tmp_path / "unverified", Filters(constraint="off"))
    unverified = answer_lines(tmp_path / "unverified")
    assert [line.constraints for line in unverified] == [line.constraints for line in lines]
    assert any(one.accepted and not all(one.verified) for line in unverified for one in line.candidates)
    for before, now in zip(lines, unverified, strict=True):
        assert [one.verified for one in before.candidates] == [one.verified for one in now.candidates]


def test_exported_rows_ask_for_them_and_keep_the_checks(make_config: Any, tmp_path: Path) -> None:
    config, _, _ = run_it(make_config)
    chain.export(config)
    folder = tmp_path / "run" / "dataset"
    rows = [json.loads(line) for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]
    checked = [row for row in rows if "constraints" in row]
    assert checked
    for row in checked:
        demanded = [Constraint(**one) for one in row["constraints"]]
        assert row["instruction"].endswith(" ".join(one.text for one in demanded))
        assert row["prompt"][0]["content"].startswith(row["instruction"])
        assert all(keeps(row["output"], one) for one in demanded)
    shown = {row.id: row.instruction for row in shown_rows(tmp_path / "run")}
    assert all(shown[row["id"]] == row["instruction"] for row in checked)


def test_explain_shows_what_was_demanded(make_config: Any, tmp_path: Path) -> None:
    _, _, lines = run_it(make_config)
    line = next(line for line in lines if line.constraints)
    text = render(explain(tmp_path / "run", line.id))
    assert f"demanded: {line.constraints[0].text}" in text


def test_pages_and_counts_take_the_reason(make_config: Any, tmp_path: Path) -> None:
    run_it(make_config)
    counts = json.loads(CliRunner().invoke(cli, ["status", str(tmp_path / "run"), "--json"]).output)
    reasons = counts["instances"]["reasons"]
    assert reasons["constraint"] > 0
    assert counts["instances"]["total"] == counts["instances"]["accepted"] + sum(reasons.values())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"answering": "inline"}, "only answers written separately get constraints; set answering to separate"),
        ({"prompt_language": "de"}, "constraints are worded in English, and prompt_language is de; set share to 0"),
        ({"constraints": {"share": 1.5}}, "less than or equal to 1"),
    ],
)
def test_what_cannot_be_is_refused(make_config: Any, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        make_config(**{**OPTIONS, **options})


def test_the_evidence_names_each_broken_constraint() -> None:
    lower, question = (TYPES[name].drawn(random.Random(1)) for name in ("case/lower", "edges/ends_in_question"))
    assert constraint(Row("Say it.", "", "what?", constraints=(lower, question))) is None
    found = constraint(Row("Say it.", "", "What!", constraints=(lower, question)))
    assert found is not None and found.evidence == {"broken": [lower.text, question.text]}


def test_a_run_cut_anywhere_goes_on_to_the_same_lines(make_config: Any, tmp_path: Path) -> None:
    options = {**OPTIONS, "num_instructions": 8, "answer": {"num_samples": 2}}
    config, _, _ = run_it(make_config, **options)
    journal = tmp_path / "run" / "journal.jsonl"
    whole = journal.read_bytes().splitlines(keepends=True)
    for length in range(2, len(whole), 7):
        journal.write_bytes(b"".join(whole[:length]))
        run_scripted(config, engine())
        again = [line for line in journal.read_bytes().splitlines(keepends=True) if b'"event"' not in line]
        assert sorted(again) == sorted(line for line in whole if b'"event"' not in line)


def test_another_model_is_asked_for_them_too(make_config: Any, tmp_path: Path) -> None:
    config, _, _ = run_it(make_config)
    rewriting = {**config.model_dump(), "output_dir": str(tmp_path / "new"), "regenerate": {"model": "better"}}
    asked = ScriptedEngine(lambda request: Completion(BAD, "stop", 5, 5), has_chat_template=True)

    async def start() -> Any:
        return asked

    regenerate(tmp_path / "run", Config.model_validate(rewriting), start)
    prompts = {request.key: str(request.prompt) for request in asked.history}
    outputs = [line for line in read_lines(tmp_path / "new" / "journal.jsonl") if isinstance(line, OutputLine)]
    state = replayed(journal_lines(tmp_path / "run"))
    checked = 0
    for line in outputs:
        demanded = state.instances[line.id][line.instance].constraints
        for one in demanded:
            assert repr(one.text)[1:-1] in prompts[f"output/{line.id}/{line.instance}"]
        kept = all(keeps(BAD, one) for one in demanded)
        assert line.candidates[0].accepted == kept and (kept or line.candidates[0].reason == "constraint")
        checked += bool(demanded)
    assert checked and {line.candidates[0].accepted for line in outputs} == {True, False}
    after = replayed(journal_lines(tmp_path / "new"))
    assert [i.constraints for k in after.instances.values() for i in k] == [
        i.constraints for k in state.instances.values() for i in k
    ]
