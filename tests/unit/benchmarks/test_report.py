"""The scripted run of the report's measurement is one that every part of the report has something to say about."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.report import make_run
from selfinstruct.report.collect import collect


@pytest.mark.whole
def test_the_run_has_what_the_report_shows(tmp_path: Path) -> None:
    make_run(tmp_path / "run", 40, None)
    report = collect(tmp_path / "run", gpu_price=2.5)
    assert len(report.generation.state.pool) == report.variety.rows == 40 and not report.unfinished
    assert report.generation.pace and len(report.generation.pace.sessions) == 2
    assert report.generation.topics and len(report.generation.proposers) == 2
    assert report.rated and report.variety.with_pair == 40 and report.variety.mentions
    assert report.spending.cost_per_1000_rows
