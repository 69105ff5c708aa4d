"""What a run took, in the report: tokens by kind of request, and the cost at a price per hour."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from selfinstruct.cli import cli
from selfinstruct.report.collect import collect
from tests import finished_run


def an_hour(run: Path) -> None:
    (run / "metrics.jsonl").write_text(json.dumps({"time": 1.0, "elapsed_s": 3600.0}) + "\n")


def test_the_report_has_a_table_of_tokens_and_the_cost_of_rows(make_config: Any) -> None:
    run = finished_run.generated(make_config())
    an_hour(run)
    report = collect(run, 2.5)
    rows, kinds = report.generation.state.num_instances, report.spending.kinds
    assert report.spending.cost_per_1000_rows == round(1000 * 2.5 / rows, 4)
    assert sum(one.written for one in kinds.values()) == report.generation.state.completion_tokens
    shown = CliRunner().invoke(cli, ["report", str(run), "--gpu-price", "2.5"])
    assert shown.exit_code == 0, shown.output
    page = (run / "report.html").read_text()
    assert all(f'<th scope="row">{kind}</th><td class="n">{one.written:,}</td>' in page for kind, one in kinds.items())
    assert f"1,000 rows cost {2500 / rows:,.2f}" in page and "1.00 hours" in page
    assert "time for 1,000 rows" in page and "of it cached" not in page, "the engine of the test tells no cached tokens"


def test_without_a_price_the_report_says_how_to_give_one(make_config: Any) -> None:
    run = finished_run.generated(make_config())
    an_hour(run)
    assert CliRunner().invoke(cli, ["report", str(run)]).exit_code == 0
    text = re.sub("<[^>]*>", "", (run / "report.html").read_text())
    assert "selfinstruct report RUN --gpu-price" in text
