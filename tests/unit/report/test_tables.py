"""The tables of everything that an evaluation measures beside its scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from selfinstruct.run.scores import ArmScores, Scores, read_scores
from tests import finished_run
from tests.conftest import Once
from tuning.evaluation.tables import Table, tables


@pytest.fixture
def scores(tmp_path: Path, make_config: Any, once: Once) -> Scores:
    once(lambda: finished_run.evaluated(tmp_path, make_config()))
    return read_scores(tmp_path / "evaluation" / "scores.json")


def by_title(scores: Scores) -> dict[str, Table]:
    return {table.title: table for table in tables(scores, lambda arm: arm.upper())}


def test_every_measure_has_its_table(scores: Scores) -> None:
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


def test_the_gap_is_told_with_what_the_base_has(scores: Scores) -> None:
    rows = [row[0] for row in by_title(scores)["Seen and unseen tasks"].rows]
    assert "BASE: ROUGE-L" in rows
    assert "TUNED: ROUGE-L gained over the base" in rows
    assert "TUNED: loss" in rows


def test_what_was_not_measured_has_no_table() -> None:
    assert tables(Scores(arms={}), str) == []
    assert tables(Scores(arms={"base": ArmScores()}), str) == []


def test_scores_of_an_earlier_version_have_no_such_tables(scores: Scores) -> None:
    """Before, a set had `empty` and no other format error."""
    missing = dict.fromkeys(("no_eos", "repeats", "truncated"), UNSET)
    arms = {
        arm: ArmScores(sets={name: replace(means, **missing) for name, means in about.sets.items()})
        for arm, about in scores.arms.items()
    }
    assert tables(Scores(arms=arms), str) == []
