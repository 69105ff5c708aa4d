"""`show`: the rows as the state has them, each with its evidence; what was rejected."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from selfinstruct.cli import cli
from selfinstruct.engines.base import Request
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.errors import ConfigError
from selfinstruct.records import SPLITS, Completion
from selfinstruct.replay import show
from selfinstruct.run.directory import RunDirectory
from tests.conftest import journal_lines, run_scripted, script
from tests.finished_run import hostile_script


def invoke(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, ["show", *map(str, arguments)])


@pytest.mark.parametrize("answering", ["inline", "separate"])
def test_rows_are_those_of_the_export_with_their_evidence(make_config: Any, tmp_path: Path, answering: str) -> None:
    state = run_scripted(make_config(answering=answering, filters={"echo": "warn", "unfinished": "warn"}))
    rows = show.rows(tmp_path / "run")
    assert len(rows) == state.num_instances > 20
    assert Counter(reason for row in rows for reason in row.warnings) <= Counter(state.warnings)
    assert {(row.instruction, row.input, row.output) for row in rows} == {
        (task.instruction, one.input, one.output) for task in state.tasks() for one in task.instances
    }
    lines = journal_lines(tmp_path / "run")
    nearest = {c["id"]: c.get("nearest_seed") for line in lines for c in line.get("candidates", ()) if "id" in c}
    for row in rows:
        shown = None if row.nearest is None else {"id": row.nearest.id, "score": row.nearest.score}
        assert shown == nearest[row.id.rpartition("-")[0]]


def test_several_answers_to_one_input_are_rows_of_their_own(make_config: Any, tmp_path: Path) -> None:
    answers = iter(range(10_000))

    def speaks(request: Request) -> Completion:
        if not request.key.startswith("answer/"):
            return script(request)
        return Completion(f"River number {next(answers)} is the longest.", "stop", 5, 5)

    several = {"num_samples": 2, "temperature": 0.7, "keep": "all"}
    state = run_scripted(make_config(answering="separate", answer=several), ScriptedEngine(speaks))
    rows = show.rows(tmp_path / "run")
    assert [row.output for row in rows] == [one.output for task in state.tasks() for one in task.instances]
    assert len(rows) > len({(row.id.rpartition("-")[0], row.input) for row in rows})


def test_ids_are_those_of_the_exported_rows(make_config: Any, tmp_path: Path) -> None:
    from selfinstruct.dataset.export import export

    config = make_config()
    run_scripted(config)
    export(config)
    run = RunDirectory(tmp_path / "run")
    exported = [json.loads(line) for name in SPLITS for line in run.dataset.split(name).read_text().splitlines()]
    assert {row["id"] for row in exported} <= {row.id for row in show.rows(run.path)}


@pytest.mark.parametrize("answering", ["inline", "separate"])
def test_everything_rejected_is_shown_once(make_config: Any, tmp_path: Path, answering: str) -> None:
    state = run_scripted(make_config(answering=answering))
    found = show.rejected(tmp_path / "run", show.EVERY_REASON)
    assert Counter(one.reason for one in found) == state.rejected + state.instances_rejected
    (reason, count), *_ = state.rejected.most_common()
    assert len(show.rejected(tmp_path / "run", reason)) == state.rejected[reason] + state.instances_rejected[reason]
    assert count and all(one.instruction for one in found)


def test_an_unknown_reason_names_those_that_there_are(make_config: Any, tmp_path: Path) -> None:
    run_scripted(make_config())
    with pytest.raises(ConfigError, match=r"--rejected silly: .* near_duplicate"):
        show.rejected(tmp_path / "run", "silly")


def test_a_sample_is_drawn_once_and_keeps_its_order() -> None:
    items = list(range(100))
    drawn = show.sample(items, 10, 3)
    assert drawn == sorted(drawn) == show.sample(items, 10, 3) != show.sample(items, 10, 4)
    assert show.sample(items, 200, 3) == items


def test_the_command_prints_one_object_a_line_and_searches(make_config: Any, tmp_path: Path) -> None:
    run_scripted(make_config())
    result = invoke(tmp_path / "run", "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(rows) == len(show.rows(tmp_path / "run"))
    word = rows[3]["output"].split()[0].upper()
    found = [json.loads(line) for line in invoke(tmp_path / "run", "--json", "--grep", word).stdout.splitlines()]
    assert rows[3] in found and all(word.lower() in json.dumps(row).lower() for row in found)
    assert len(invoke(tmp_path / "run", "--json", "--random", 5).stdout.splitlines()) == 5
    assert "nothing to show" in invoke(tmp_path / "run", "--grep", "\u2603").stderr


def test_hostile_texts_are_escaped_on_a_terminal_and_kept_in_json(make_config: Any, tmp_path: Path) -> None:
    run_scripted(make_config(), ScriptedEngine(hostile_script))
    text = invoke(tmp_path / "run", "--rejected", "any")
    assert text.exit_code == 0 and "\\x00" in text.stdout and "\x00" not in text.stdout
    assert "\u202e" not in text.stdout
    for line in invoke(tmp_path / "run", "--rejected", "any", "--json").stdout.splitlines():
        json.loads(line)
        assert line.isascii() and line.isprintable()
