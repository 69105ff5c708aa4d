"""The tables of everything that an evaluation measures beside its scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import finished_run
from tuning.evaluation.tables import Table, tables


@pytest.fixture
def scores(tmp_path: Path, make_config: Any) -> dict[str, Any]:
    finished_run.evaluated(tmp_path, make_config(evaluate={"num_resamples": 200}))
    return json.loads((tmp_path / "evaluation" / "scores.json").read_bytes())


def by_title(scores: dict[str, Any]) -> dict[str, Table]:
    return {table.title: table for table in tables(scores, lambda arm: arm.upper())}


def test_every_measure_has_its_table(scores: dict[str, Any]) -> None:
    found = by_title(scores)
    assert list(found) == [
        "Format errors",
        "Seen and unseen tasks",
        "Judged in pairs",
        "Consistency",
        "Plain text",
        "Verifiable constraints",
        "lm-eval",
    ]
    for table in found.values():
        assert {len(row) for row in table.rows} == {len(table.columns)}, table.title
    assert found["Judged in pairs"].rows[0] == [
        "TUNED against BASE, eval_tasks",
        *("7", "0", "0", "1"),
        "100.0 (100.0 to 100.0)",
        "",
    ]
    assert "answer shown first in 50 %" in found["Judged in pairs"].note
    assert found["Consistency"].rows[0] == ["BASE, asked in other words", *["100.0 (100.0 to 100.0)"] * 2, "8"]
    assert found["Plain text"].rows[-1][:3] == ["TUNED", "20.09", "0.6492"]
    assert found["Verifiable constraints"].rows[0][1:3] == ["0.0 (0.0 to 0.0)", "100.0 (100.0 to 100.0)"]
    assert found["lm-eval"].columns == ["", "BASE", "BASE-FEW-SHOT", "SEEDS-ONLY", "TUNED"]
    assert found["lm-eval"].rows == [["yes_no: acc", *["0.7500 ± 0.1000"] * 4]]


def test_the_gap_is_told_with_what_the_base_has(scores: dict[str, Any]) -> None:
    rows = [row[0] for row in by_title(scores)["Seen and unseen tasks"].rows]
    assert "BASE: ROUGE-L" in rows
    assert "TUNED: ROUGE-L gained over the base" in rows
    assert "TUNED: loss" in rows


@pytest.mark.parametrize("broken", [{}, {"arms": None}, {"arms": {"base": {"sets": 3, "gap": [], "ifeval": "x"}}}])
def test_what_is_missing_or_of_another_form_is_left_out(broken: dict[str, Any]) -> None:
    assert tables(broken, str) == []


def test_scores_of_an_earlier_version_have_no_such_tables(scores: dict[str, Any]) -> None:
    """Before, a set had `empty` and no other format error."""
    for about in scores["arms"].values():
        for name in ("gap", "consistency", "ifeval", "plain_text", "lm_eval"):
            about.pop(name, None)
        for found in about["sets"].values():
            for name in ("no_eos", "repeats", "truncated"):
                del found[name]
    assert [table.title for table in tables({"arms": scores["arms"]}, str)] == []
