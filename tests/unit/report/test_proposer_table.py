"""The table of proposers: what came of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from selfinstruct.report.generation_stats import gather_stats, shares_over_time
from selfinstruct.report.page import write_report
from tests.conftest import run_scripted


def test_rows_and_tokens_per_row_of_each_proposer_add_up_to_the_run(make_config: Any, tmp_path: Path) -> None:
    state = run_scripted(make_config(proposers={"list": 1.0, "plan": 1.0}))
    stats = gather_stats(tmp_path / "run" / "journal.jsonl", {}, [])
    assert stats.rows_by.keys() == {"list", "plan"}
    assert sum(rows for rows, _ in stats.rows_by.values()) == state.num_instances
    spent = [n for name, n in zip(state.proposed_by, state.tokens_spent, strict=True) if name == "list"]
    rows, each = stats.rows_by["list"]
    assert each is not None and round(rows * each) == sum(spent)
    assert stats.rows_by["plan"] == (0, None), "the scripted model answers no plan"
    assert "tokens per row" in write_report(tmp_path / "run").read_text()


def test_rows_and_tokens_per_row_of_each_topic_add_up_to_the_run(make_config: Any, tmp_path: Path) -> None:
    topics = tmp_path / "topics.txt"
    topics.write_text("cooking\nsports\n")
    state = run_scripted(make_config(topics=str(topics)))
    stats = gather_stats(tmp_path / "run" / "journal.jsonl", {}, [])
    assert stats.topics.keys() == {"cooking", "sports"} == stats.rows_on.keys() - {""}
    assert sum(rows for rows, _ in stats.rows_on.values()) == state.num_instances
    rows, each = stats.rows_on["cooking"]
    assert rows and each and each > 0
    page = write_report(tmp_path / "run").read_text()
    assert '<th scope="row"><bdi>cooking</bdi></th>' in page and f'<td class="n">{rows:,}</td>' in page


def test_the_report_shows_how_the_shares_of_adaptive_proposers_change(make_config: Any, tmp_path: Path) -> None:
    assert shares_over_time(["list"] * 6 + ["plan"] * 4, ["list", "plan"]) == {
        "list": [1, 1, 1, 0, 0],
        "plan": [0, 0, 0, 1, 1],
    }
    assert shares_over_time(["list"] * 4, ["list"]) == {}
    run_scripted(make_config(proposers={"list": 1.0, "plan": 1.0}, proposer_weights="adaptive"))
    stats = gather_stats(tmp_path / "run" / "journal.jsonl", {}, [])
    together = [sum(shares) for shares in zip(*stats.shares_over_time.values(), strict=True)]
    assert len(together) == 5 and all(abs(whole - 1) < 1e-9 for whole in together)
    assert "by fifths of the run" in write_report(tmp_path / "run").read_text()
