"""What readers say of refiltered, regenerated and repaired runs: none of them forgets a kind of line or of run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.config.schema import Config, Filters
from selfinstruct.engines.base import Engine, Request
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.errors import StoppedError
from selfinstruct.generation.regenerate import regenerate
from selfinstruct.records import Completion
from selfinstruct.replay import show
from selfinstruct.replay.refilter import refilter
from selfinstruct.replay.repair import repair
from selfinstruct.replay.status import next_command, status
from selfinstruct.report.page import write_report
from selfinstruct.run.directory import RunDirectory
from tests.conftest import Once, run_scripted


def page_of(run: Path) -> str:
    """Return a run's report, without the marks that keep the words of a command together."""
    return re.sub(r"</?span[^>]*>", "", write_report(run).read_text())


@pytest.fixture
def run(make_config: Any, tmp_path: Path, once: Once) -> Path:
    once(lambda: run_scripted(make_config(num_instructions=20)))
    return tmp_path / "run"


@pytest.fixture
def stopped_run(make_config: Any, tmp_path: Path) -> Path:
    """A run that used up its budget before its target."""
    with pytest.raises(StoppedError):
        run_scripted(make_config(num_instructions=200, limits={"max_requests": 30}))
    return tmp_path / "run"


def rewritten(source: Path) -> Path:
    run = source.parent / "rewritten"
    values = RunDirectory(source).config().model_dump() | {"output_dir": str(run), "regenerate": {"model": "better"}}

    def better(request: Request) -> Completion:
        return Completion(f"A better answer to {request.key}.", "stop", 10, 5)

    async def start() -> Engine:
        return ScriptedEngine(better, has_chat_template=True)

    regenerate(source, Config.model_validate(values), start)
    return run


def without_last_lines(run: Path, number: int) -> None:
    journal = RunDirectory(run).journal
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:-number]))


def test_a_refiltered_run_names_the_run_that_it_was_made_from(run: Path, tmp_path: Path) -> None:
    output = tmp_path / "strict"
    refilter(run, output, Filters(threshold=0.5))
    assert status(output).refiltered_from.run == str(run)
    page = page_of(output)
    assert "Filtered again" in page and f"from the candidates of {run}" in page
    assert "Filtered again" not in page_of(run)


def test_a_regenerated_run_of_a_refiltered_one_still_names_it(run: Path, tmp_path: Path) -> None:
    output = tmp_path / "same"
    refilter(run, output, Filters())
    assert RunDirectory(rewritten(output)).header().refiltered_from == RunDirectory(output).header().refiltered_from


def test_a_regenerated_run_of_a_stopped_one_is_never_continued_by_generate(stopped_run: Path) -> None:
    """The options that lift its source's stop do not apply to it; what is left is rewriting outputs."""
    run = rewritten(stopped_run)
    assert not RunDirectory(run).state().outputs_left()
    assert next_command(status(run)) == f"selfinstruct export {run}"
    assert "selfinstruct generate" not in page_of(run)
    assert "Generation stopped early" in page_of(run), "the dataset is smaller for it"
    without_last_lines(run, 3)
    command = f"selfinstruct regenerate {stopped_run} --model better --output-dir {run}"
    assert next_command(status(run)) == command
    page = page_of(run)
    assert "3 outputs still wait to be rewritten" in page and command in page and "selfinstruct generate" not in page


def test_a_repaired_run_is_unfinished_and_says_how_to_continue(run: Path) -> None:
    journal = RunDirectory(run).journal
    lines = journal.read_bytes().splitlines(keepends=True)
    position = [k for k, line in enumerate(lines) if line.startswith(b'{"kind":"proposal"')][2]
    journal.write_bytes(b"".join([*lines[:position], b"?\n", *lines[position + 1 :]]))
    repair(run)
    assert next_command(status(run)) == f"selfinstruct generate --output-dir {run}"
    page = page_of(run)
    assert "Generation has not finished" in page and f"selfinstruct generate --output-dir {run}" in page


def test_a_repaired_regenerated_run_is_continued_by_regenerate(run: Path) -> None:
    new = rewritten(run)
    journal = RunDirectory(new).journal
    lines = journal.read_bytes().splitlines(keepends=True)
    position = next(k for k, line in enumerate(lines) if line.startswith(b'{"kind":"instances"'))
    journal.write_bytes(b"".join([*lines[:position], b"?\n", *lines[position + 1 :]]))
    repair(new)
    command = f"selfinstruct regenerate {run} --model better --output-dir {new}"
    assert next_command(status(new)) == command
    page = page_of(new)
    assert command in page and "selfinstruct generate" not in page
    assert RunDirectory(rewritten(run)).state().complete


@pytest.mark.parametrize("answering", ["inline", "separate"])
def test_shown_rows_of_a_regenerated_run_are_the_rewritten_ones(
    make_config: Any, tmp_path: Path, answering: str
) -> None:
    run_scripted(make_config(num_instructions=20, answering=answering))
    new = rewritten(tmp_path / "run")
    shown = show.rows(new)
    assert [row.output for row in shown] == [i.output for t in RunDirectory(new).state().tasks() for i in t.instances]
    assert any(row.output.startswith("A better answer") for row in shown)
