"""`preview`: a few rows before the night."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from selfinstruct.cli import cli
from selfinstruct.config.load import dump_yaml
from selfinstruct.config.schema import Config
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.engines.vllm import VLLMEngine
from selfinstruct.records import Completion
from selfinstruct.run.directory import RunDirectory
from tests.conftest import run_scripted, script


@pytest.fixture
def night(monkeypatch: pytest.MonkeyPatch, make_config: Any, tmp_path: Path) -> Path:
    """A configuration of a run of 5,000 instructions on the scripted engine."""

    async def start(*_: Any, **__: Any) -> ScriptedEngine:
        return ScriptedEngine(script)

    monkeypatch.setattr(VLLMEngine, "start", start)
    monkeypatch.setattr("selfinstruct.checks.preflight.check_generator", lambda *_, **__: None)
    monkeypatch.setattr("selfinstruct.cli.shared._needed_context", lambda _: 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    config: Config = make_config(num_instructions=5000)
    path = tmp_path / "night.yaml"
    path.write_text(dump_yaml(config.kept()))
    return path


def invoke(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, ["preview", *map(str, arguments)])


def test_a_preview_shows_rows_and_keeps_nothing(night: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    result = invoke(night, "--rows", 4, "--json")
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(rows) == 4 and all(row["output"] and "nearest" in row for row in rows)
    assert "instructions accepted" in result.stderr and "rejected: " in result.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_a_kept_preview_is_a_run_of_its_own(night: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    result = invoke(night, "--rows", 3, "--keep", kept, "--proposal.num-new", 4)
    assert result.exit_code == 0, result.output
    assert len(RunDirectory(kept).state().pool) == 6
    again = invoke(night, "--keep", kept)
    assert again.exit_code == 2 and "exists" in again.stderr


def test_a_preview_that_saturates_shows_what_there_is(
    night: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def start(*_: Any, **__: Any) -> ScriptedEngine:
        return ScriptedEngine(lambda request: Completion(" Name three rivers of this continent.\n", "stop", 5, 5))

    monkeypatch.setattr(VLLMEngine, "start", start)
    result = invoke(night, "--saturation.window", 20)
    assert result.exit_code == 0, result.output
    assert "the preview ended early" in result.stderr and "saturated" in result.stderr


def test_status_watch_shows_the_end_of_the_table_on_a_small_screen(
    make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of a run that died: what it was going to do next stands at the end."""
    run_scripted(make_config(num_instructions=6, proposers={"list": 1.0, "plan": 1.0}))
    journal = tmp_path / "run" / "journal.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-2]) + b'{"kind": "ans')
    monkeypatch.setenv("COLUMNS", "80")

    def sleep(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("selfinstruct.cli.status_command.pause", sleep)
    shown = {}
    for height in (24, 100):
        monkeypatch.setenv("LINES", str(height))
        shown[height] = CliRunner().invoke(cli, ["status", str(tmp_path / "run"), "--watch"]).stdout
        assert len(shown[height].splitlines()) <= height
        assert "generate  not yet" in shown[height] and "next: selfinstruct generate" in shown[height]
    assert "near_duplicate" in shown[100] and "near_duplicate" not in shown[24]


def test_status_watch_shows_a_run_again_and_again_until_it_is_stopped(
    make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_scripted(make_config(num_instructions=6))
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            run_scripted(make_config(num_instructions=12))  # The run goes on meanwhile.
        elif len(waits) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("selfinstruct.cli.status_command.pause", sleep)
    result = CliRunner().invoke(cli, ["status", str(tmp_path / "run"), "--watch"])
    assert result.exit_code == 130, result.output
    assert "12 of 12" in result.stdout and min(waits) >= 2
    assert CliRunner().invoke(cli, ["status", str(tmp_path / "run"), "--watch", "--json"]).exit_code == 2
