"""`scores.json` of this version and of earlier ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from selfinstruct.errors import InputError
from selfinstruct.run.scores import SCORES_VERSION, read_scores

DIFFERENCE = {"a": "tuned", "b": "base", "difference": 1.0, "low": 0.5, "high": 2.0}
COMPARISON = DIFFERENCE | {"set": "mine", "metric": "rouge_l", "confidence": 0.95, "n": 9, "n_tasks": 8}
PAIR = {"a": "tuned", "b": "base", "set": "mine", "n": 1, "n_tasks": 1, "wins": 1, "ties": 0, "losses": 0, "failed": 0}
PAIR |= {"win_rate": 1.0, "low": 1.0, "high": 1.0}
POSITION = {"judgements": 2, "first": 0.5, "second": 0.5, "tie": 0.0, "turned": 0.0}


def written(path: Path, **values: Any) -> Path:
    path.write_text(json.dumps({"version": 2, "arms": {}, "comparisons": [], "verdict": "", "settings": {}} | values))
    return path


def test_version_2_said_shown(tmp_path: Path) -> None:
    path = written(
        tmp_path / "scores.json",
        comparisons=[COMPARISON | {"shown": True}],
        forgetting=[DIFFERENCE | {"chunks": 3, "shown": False}],
        judge={"pairs": [PAIR | {"shown": True}], "position": POSITION},
    )
    scores = read_scores(path)
    assert scores.comparisons[0].significant
    assert scores.forgetting and not scores.forgetting[0].significant
    assert scores.judge and scores.judge.pairs[0].significant


def test_version_1_knew_no_format_errors_but_empty(tmp_path: Path) -> None:
    about = {"n": 9, "n_tasks": 8, "rouge_l": 5.0, "exact_match": None, "stopped": 1.0, "failed": 0.0, "empty": 0.0}
    sets = {"mine": about | {"mean_tokens": 3.0, "rouge_l_interval": [4, 6], "exact_match_interval": None}}
    path = written(tmp_path / "scores.json", version=1, arms={"tuned": {"model": "m", "sets": sets}})
    tuned = read_scores(path).arms["tuned"].sets["mine"]
    assert tuned.rouge_l_interval == (4, 6)
    assert "no_eos" not in msgspec.to_builtins(tuned)


def test_what_was_not_asked_for_is_left_out_and_nothing_to_measure_is_null(tmp_path: Path) -> None:
    sets = {"mine": {"n": 1, "n_tasks": 1, "exact_match": None}}
    scores = read_scores(written(tmp_path / "scores.json", version=SCORES_VERSION, arms={"tuned": {"sets": sets}}))
    builtins = msgspec.to_builtins(scores)
    assert "judge" not in builtins and "gap" not in builtins["arms"]["tuned"]
    assert builtins["arms"]["tuned"]["sets"]["mine"]["exact_match"] is None


@pytest.mark.parametrize(
    ("text", "expected"), [("{", "is damaged"), ("[]", "object"), ('{"arms": {"base": {"sets": 3}}}', "sets")]
)
def test_a_damaged_file_is_named(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "scores.json"
    path.write_text(text)
    with pytest.raises(InputError, match=expected) as error:
        read_scores(path)
    assert str(error.value).count(str(path)) == 1
    with pytest.raises(InputError, match=r"none\.json"):
        read_scores(tmp_path / "none.json")
