"""Existing responses scored by IFEval's checks: matched by prompt, counted, refused by line. Scripted checks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from selfinstruct.cli.edge import cli
from selfinstruct.errors import InputError
from tuning.evaluation import ifeval
from tuning.evaluation.ifeval_responses import score_responses


def write(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def constraints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three prompts, the last with two constraints; a response keeps all of them if it says so."""

    def checks(responses: Sequence[tuple[ifeval.Line, str]]) -> list[ifeval.Checked]:
        kept = [("keeps" in text,) * len(line.kwargs) for line, text in responses]
        return [ifeval.Checked(strict=each, loose=each, sentences_by="punkt_tab") for each in kept]

    monkeypatch.setattr(ifeval, "run_checks", checks)
    names = [["a:b"], ["a:b"], ["a:b", "c:d"]]
    lines = [
        {"key": k, "prompt": f"prompt {k}", "instruction_id_list": each, "kwargs": [{}] * len(each)}
        for k, each in enumerate(names)
    ]
    return write(tmp_path / "input_data.jsonl", lines)


def test_responses_belong_to_prompts_whatever_their_order(tmp_path: Path, constraints: Path) -> None:
    rows = [{"prompt": "prompt 2", "said": "keeps"}, {"prompt": "prompt 0", "said": "no"}]
    found = score_responses(write(tmp_path / "r.jsonl", rows), constraints, "said")
    assert (found.scores.n, found.scores.n_instructions, found.unanswered) == (2, 3, 1)
    assert found.scores.prompt_strict == 50
    assert found.scores.instruction_strict == pytest.approx(200 / 3)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([{"prompt": "prompt 9", "response": "x"}], r"line 1: `prompt` is none of .*input_data.jsonl: 'prompt 9'"),
        ([{"prompt": "prompt 1", "response": "x"}] * 2, "line 2: `prompt` is that of line 1"),
        ([{"prompt": "prompt 1"}], r"line 1: no field `response` \(the row has: `prompt`\); .*--prediction-field"),
        ([{"prompt": 1, "response": "x"}], "line 1: `prompt` must be a string, got 1"),
        ([{"prompt": "prompt 1", "response": None}], "line 1: `response` must be a string, got None"),
        ([], "holds no responses"),
    ],
)
def test_what_cannot_be_scored_is_named(tmp_path: Path, constraints: Path, rows: Any, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        score_responses(write(tmp_path / "r.jsonl", rows), constraints)


def test_the_command(tmp_path: Path, constraints: Path) -> None:
    responses = write(tmp_path / "r.jsonl", [{"prompt": f"prompt {k}", "response": "keeps"} for k in range(2)])
    asked = ["score", str(responses), "--ifeval", str(constraints)]
    shown = CliRunner().invoke(cli, asked).output
    assert "prompts, strict       100.00  [100.00, 100.00]" in shown and "2, 1 of the file without a response" in shown
    scores = json.loads(CliRunner().invoke(cli, [*asked, "--json"]).output)
    assert (scores["prompt_strict"], scores["n"], scores["unanswered"]) == (100, 2, 1)
