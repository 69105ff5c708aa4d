"""The sample, the terminal, the report's table, and the export without rejected rows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from selfinstruct.cli import cli
from selfinstruct.errors import InputError
from selfinstruct.records import SPLITS
from selfinstruct.report.page import write_report
from selfinstruct.review.sample import Reading
from selfinstruct.run.directory import RunDirectory
from tests.conftest import Once, run_scripted


@pytest.fixture
def run(make_config: Any, tmp_path: Path, once: Once) -> Path:
    once(lambda: run_scripted(make_config()))
    return tmp_path / "run"


def invoke(*arguments: Any, keys: str = "") -> Result:
    with pytest.MonkeyPatch.context() as patch:  # The keys of a test come from no terminal.
        patch.setattr("selfinstruct.cli.review_command.require_terminal", lambda: None)
        return CliRunner().invoke(cli, [str(argument) for argument in arguments], input=keys)


def exported(run: Path) -> set[str]:
    lines = [line for name in SPLITS for line in RunDirectory(run).dataset.split(name).read_text().splitlines()]
    return {json.loads(line)["id"] for line in lines}


def test_everybody_reads_the_same_sample_and_a_growing_run_keeps_it(make_config: Any, tmp_path: Path) -> None:
    run_scripted(make_config())
    before = [row.id for row in Reading.of(tmp_path / "run", 20, 7).rows]
    assert before == [row.id for row in Reading.of(tmp_path / "run", 20, 7).rows]
    assert before != [row.id for row in Reading.of(tmp_path / "run", 20, 8).rows]
    run_scripted(make_config(num_instructions=36))
    after = [row.id for row in Reading.of(tmp_path / "run", 1000, 7).rows]
    assert [row for row in after if row in before] == before


def test_a_run_without_rows_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a run directory"):
        Reading.of(tmp_path, 5, 0)


def test_reviews_in_the_terminal_continue_and_reach_report_and_export(run: Path) -> None:
    terminal = ("review", run, "--rows", 3, "--terminal")
    first = invoke(*terminal, "--reviewer", "Ada", keys="yyxyyq")
    assert first.exit_code == 0 and first.output.count("valid task?") == 2
    second = invoke(*terminal, "--reviewer", "Ada", keys="yynyyy")
    assert second.exit_code == 0 and "all 3 rows are reviewed by Ada" in second.output
    assert invoke(*terminal, "--reviewer", "Bob", keys="ynnyynyyy").exit_code == 0
    page = write_report(run).read_text()
    table = page.split('<section id="review">')[1].split("</section>")[0]
    assert "3 rows were read by 2 people" in table and all(f"{share} %" in table for share in (92, 79, 58, 54))
    assert invoke("export", run).exit_code == 0
    everything = exported(run)
    assert invoke("export", run, "--without-rejected-reviews").exit_code == 0
    rows = [row.id for row in Reading.of(run, 3, 0).rows]
    assert everything - exported(run) == {rows[0], rows[1]}
    counts = RunDirectory(run).dataset.export_counts()
    assert counts.instances.left_out["rejected_by_review"] == 2
    left_out = sum(counts.instances.left_out.values())
    assert counts.instances.accepted == sum(counts.rows.values()) + left_out


@pytest.mark.whole
def test_without_a_terminal_no_row_is_shown(run: Path) -> None:
    command = [sys.executable, "-m", "selfinstruct", "review", str(run), "--terminal"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, start_new_session=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("Error: --terminal: keys cannot be read (") and done.stderr.count("\n") == 1


def test_a_report_without_reviews_has_no_table(run: Path) -> None:
    assert 'id="review"' not in write_report(run).read_text()


def test_overwriting_a_run_keeps_what_people_said(run: Path, make_config: Any) -> None:
    invoke("review", run, "--rows", 1, "--terminal", "--reviewer", "Ada", keys="yyy")
    run_scripted(make_config(seed=5), overwrite=True)
    assert len(RunDirectory(run).reviews()) == 1
