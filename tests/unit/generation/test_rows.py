"""All filters of rows together: who rejects, who warns, and what the journal says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from selfinstruct.cli import cli
from selfinstruct.config.schema import Filters
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.generation.filters.row import Row
from selfinstruct.generation.filters.rows import RowDecision, row_check, row_filters
from selfinstruct.generation.frame import load_frame
from selfinstruct.records import Completion, Rejection
from selfinstruct.replay.refilter import refilter
from selfinstruct.replay.status import status
from tests.conftest import journal_lines, run_scripted, script

ECHO = Row("I am not going to do that. I will not do that.", "", "I am not going to do that.")
EVIDENCE = {"of": "instruction", "score": 0.7368}


def test_the_option_says_what_becomes_of_a_row() -> None:
    def decided(echo: Any) -> RowDecision:
        return row_check(Filters(echo=echo), load_frame())(ECHO)

    assert decided("reject") == RowDecision(Rejection("echo", EVIDENCE))
    assert decided("warn") == RowDecision(None, {"echo": EVIDENCE})
    assert decided("off") == RowDecision()


def test_every_filter_has_its_option_and_an_earlier_value() -> None:
    from selfinstruct.config.earlier_defaults import EARLIER_DEFAULTS

    for name in row_filters(load_frame()):
        assert getattr(Filters(), name) in ("reject", "warn", "off")
        assert EARLIER_DEFAULTS[f"filters.{name}"] == "off", "runs made before had no such filter"


def echoing(request: Any) -> Completion:
    """Answer as the script does, but say the instruction again as the output of every instance."""
    if not request.key.startswith("instances/"):
        return script(request)
    text = request.prompt if isinstance(request.prompt, str) else request.prompt[0]["content"]
    instruction = text.rstrip().rpartition("Task: ")[2].partition("\n")[0]
    label = "Label" if "possible label" in text or "\nLabel: " in text else ""
    answer = f"Label: {instruction}\nInput: a" if label else f"Example 1\nOutput: {instruction}"
    return Completion(answer, "stop")


@pytest.mark.parametrize("action", ["reject", "warn"])
def test_refilter_status_explain_and_report_show_it(make_config: Any, tmp_path: Path, action: Any) -> None:
    off = make_config(num_instructions=6, filters=Filters(echo="off"))
    run_scripted(off, ScriptedEngine(echoing))
    refiltered = tmp_path / "refiltered"
    moves = refilter(tmp_path / "run", refiltered, off.filters.model_copy(update={"echo": action})).instances
    assert ("echo" in moves.reasons, "echo" in moves.warnings) == (action == "reject", action == "warn")
    counts = status(refiltered).counts
    lines = [
        line for line in journal_lines(refiltered) if line["kind"] == "instances" and line["form"] == "input_first"
    ]
    candidates = [candidate for line in lines for candidate in line["candidates"]]
    assert candidates
    if action == "reject":
        assert counts.instances.reasons["echo"] == len(candidates) and counts.warnings == {}
        assert all(c["reason"] == "echo" and c["evidence"]["of"] == "instruction" for c in candidates)
    else:
        assert counts.warnings == {"echo": len(candidates)} and "echo" not in counts.instances.reasons
        assert all(c["accepted"] and c["warnings"]["echo"]["of"] == "instruction" for c in candidates)
    shown = CliRunner().invoke(cli, ["status", str(refiltered)]).output
    assert f"echo {len(candidates)}" in shown
    told = CliRunner().invoke(cli, ["explain", str(refiltered), lines[0]["id"]]).output
    assert ("[kept, but echo (of: instruction" if action == "warn" else "[echo (of: instruction") in told
    assert CliRunner().invoke(cli, ["report", str(refiltered)]).exit_code == 0
    assert "output says the instruction or the input again" in (refiltered / "report.html").read_text()
