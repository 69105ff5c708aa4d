"""Constraints of the project's own types: what arms are asked, what counts as followed, and what cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from selfinstruct.constraints import HELD_OUT
from selfinstruct.engines.base import Request
from selfinstruct.errors import InputError
from selfinstruct.records import Completion
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.scores import ArmScores, Scores, TypeScore
from tests.evaluation_fakes import Starter
from tuning.evaluation import constraints, ifeval
from tuning.evaluation.bootstrap import Resampling
from tuning.evaluation.evaluation import evaluate, score_saved
from tuning.evaluation.inputs import checks, most_tokens
from tuning.evaluation.tables import tables

LOWER = {"type": "case/lower", "parameters": {}, "text": "Use small letters only."}
SHORT = {"type": "length/at_most_words", "parameters": {"n": 3}, "text": "Use at most 3 words."}


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "run")
    run.dataset.path.mkdir(parents=True)
    run.model.path.mkdir()
    (run.model.path / "config.json").write_text("{}")
    return run


@pytest.fixture
def config(make_config: Any, tmp_path: Path) -> Any:
    prompts = [
        {"id": f"c{k}", "request": f"Name colour {k}", "constraints": [LOWER, SHORT] if k % 2 else [SHORT]}
        for k in range(8)
    ]
    task = {
        "id": "e",
        "instruction": "Say it.",
        "instances": [{"input": "", "output": "a"}],
        "is_classification": False,
    }
    evaluation = {
        "tasks": [write(tmp_path / "mine.jsonl", [task])],
        "constraints": write(tmp_path / "constraints.jsonl", prompts),
        "constraints_max_tokens": 77,
        "num_resamples": 200,
        "max_tokens": 20,
    }
    return make_config(evaluate=evaluation)


def says(text: str) -> Any:
    return lambda request: Completion(text, "stop", 5, 3)


def test_a_prompt_is_followed_when_all_its_constraints_are_kept(config: Any, run: RunDirectory) -> None:
    start = Starter(scripted=says("Blue."), model=says("blue."))
    scores = evaluate(config, run, start=start)
    tuned, base = scores.arms["tuned"].constraints, scores.arms["base"].constraints
    assert tuned and base
    assert (tuned.prompts, tuned.constraints, tuned.n, tuned.n_constraints) == (100, 100, 8, 12)
    assert (base.prompts, base.constraints) == (50, pytest.approx(200 / 3))
    assert base.per_type["case/lower"] == TypeScore(n=4, kept=0, held_out=False)
    assert base.per_type["length/at_most_words"] == TypeScore(n=8, kept=100, held_out=True)
    assert scores.constraints
    by_metric = {c.metric: c for c in scores.constraints if c.b == "base"}
    assert (by_metric["prompts"].difference, by_metric["prompts"].significant) == (50, True)
    assert by_metric["constraints"].difference == pytest.approx(100 / 3)

    asked: list[Request] = [r for r in start.started[0][1].history if "constraints" in r.key and "few" not in r.key]
    assert {r.sampling.max_tokens for r in asked} == {77}
    assert any("Name colour 1. Use small letters only. Use at most 3 words." in str(r.prompt) for r in asked)
    rows = [json.loads(line) for line in (run.evaluation.path / "constraints-tuned.jsonl").read_text().splitlines()]
    assert (rows[1]["types"], rows[1]["kept"]) == (["case/lower", "length/at_most_words"], [True, True])
    again = Starter()
    assert evaluate(config, run, start=again) == scores
    assert again.models == []
    assert score_saved(run, config.evaluate, config.seed).constraints == scores.constraints


def test_the_report_has_a_table_of_them(config: Any, run: RunDirectory) -> None:
    scores = evaluate(config, run, start=Starter(scripted=says("Blue."), model=says("blue.")))
    (table,) = [t for t in tables(scores, str) if t.title == "Constraints followed"]
    (row,) = [row for row in table.rows if row[0] == "base"]
    assert row[1].startswith("50.0 (") and row[3].startswith("+50.0 (+") and row[-1] == "8"
    assert "of 2 types of constraint that a program checks, of which 1 are held out" in table.note


def test_ifevals_table_says_which_of_its_kinds_rows_may_carry() -> None:
    names = ("punctuation:no_comma", "change_case:english_lowercase", "combination:two_responses")
    rows = [ifeval.ConstrainedAnswer(id="1", task="1", set="ifeval", instructions=list(names), strict=(True,) * 3)]
    rows = [msgspec.structs.replace(row, loose=row.strict) for row in rows]
    arms = {"tuned": ArmScores(ifeval=ifeval.score(rows, Resampling(200, 0.95, 1)))}
    (table,) = tables(Scores(arms=arms), str)
    assert "1 of the 3 kinds ask for the same as a type of constraint that generated rows may carry" in table.note


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], "holds no prompts"),
        ([{"id": "a", "request": "b"}], "line 1: .*constraints"),
        ([{"id": "a", "request": "b", "constraints": []}], "line 1: `constraints`: there must be at least one"),
        (
            [{"id": "a", "request": "b", "constraints": [{**LOWER, "type": "case/none"}]}],
            "line 1: `constraints`: there is no type of constraint 'case/none'",
        ),
        ([{"id": "a", "request": "b", "constraints": [{**SHORT, "parameters": {"n": "3"}}]}], "cannot be checked with"),
        ([{"id": "a", "request": "b", "constraints": [LOWER]}] * 2, "line 2: `id`: 'a' is there twice"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, rows: list[Any], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        constraints.read(write(tmp_path / "c.jsonl", rows))


def test_a_broken_file_is_refused_before_the_run(config: Any, tmp_path: Path) -> None:
    options = config.evaluate.model_copy(update={"constraints": write(tmp_path / "c.jsonl", [{"id": 1}])})
    with pytest.raises(InputError, match=r"c.jsonl, line 1"):
        [check() for check in checks(options)]
    assert most_tokens(config.evaluate) == 20 + 8 * 77


def test_the_packaged_prompts_ask_for_held_out_types_alone() -> None:
    prompts = constraints.read("constraint_prompts")
    assert len(prompts) == 220
    asked = [constraint.type for prompt in prompts for constraint in prompt.constraints]
    assert set(asked) == set(HELD_OUT)
    assert min(map(asked.count, HELD_OUT)) >= 8


def test_the_packaged_prompts_are_those_of_the_tool() -> None:
    from selfinstruct import packaged
    from selfinstruct.formats import jsonl
    from tools.constraint_prompts import make

    for name, made in (("constraint_prompts", make.held_out_prompts()), ("ifeval_prompts", make.ifeval_prompts())):
        assert [row for _, row in jsonl.read(packaged.resolve(name))] == list(made), (
            "python -m tools.constraint_prompts.make"
        )
    lines = [ifeval.Line.model_validate(row) for row in make.ifeval_prompts()]
    assert len(lines) == 160 and len({line.prompt for line in lines}) == 160
