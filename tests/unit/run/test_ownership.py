"""What `--overwrite` removes and what it leaves; where a run may begin."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from selfinstruct.cli import cli
from selfinstruct.errors import ConfigError
from selfinstruct.formats.evaluation_tasks import EvaluationText
from selfinstruct.run import ownership
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.evaluation_record import write_evaluation_texts
from tests.conftest import Once
from tests.finished_run import complete

NO_RUNS = ["config.yaml", "dataset/train.jsonl", "evaluation/scores.json", "model/config.json", "report.html"]


def write(folder: Path, names: list[str]) -> dict[str, str]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("- mine")
    return content(folder)


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def run(make_config: Any, tmp_path: Path, once: Once) -> RunDirectory:
    """A run with every stage done, and what only some runs have."""
    once(lambda: complete(make_config(num_instructions=6)))
    run = RunDirectory(tmp_path / "run")
    for path in (run.next_damaged_copy(), run.torn, run.report, run.schedule, run.stopped, run.engine):
        path.touch()
    below = [
        "model/config.json",
        "model/model.safetensors",
        "model/tokenizer.json",
        "model/adapter/adapter_config.json",
    ]
    below += ["model/checkpoints/checkpoint-3/optimizer.pt", "model/.done", "model/.new/config.json"]
    below += ["dataset-seeds/train.jsonl", "evaluation/kept/predictions-base.jsonl", ".probe/dataset/train.jsonl"]
    write(run.path, below)
    return run


def test_a_run_is_discarded_and_nothing_else(run: RunDirectory) -> None:
    beside = run.generated.path
    beside.mkdir()
    mine = ["notes.txt", "journal.jsonl2", "journal.jsonl.damaged-by-me", "mine/model/config.json"]
    mine += ["model/notes.txt", "dataset/mine/train.jsonl", "evaluation/mine.jsonl", "dataset-seeds/extra.json"]
    write(run.path, mine)
    ownership.discard(run)
    left = {name for name in content(run.path) if not name.startswith(".lock")}
    assert left == set(mine)
    assert (
        not run.probe.exists() and not (run.path / "model/checkpoints").exists() and not run.seeds_model.path.exists()
    )
    assert beside.exists()
    ownership.discard(run)  # It holds no run any more.
    ownership.require_free(run)  # Nothing of it is in a new run's way.


def test_a_users_file_of_a_runs_name_is_in_the_way_of_a_run(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.evaluation_tasks.write_text("precious\n")
    with pytest.raises(ConfigError, match=r"write over what is there: evaluation_tasks\.jsonl"):
        ownership.require_free(run)
    write_evaluation_texts(run.evaluation_tasks, [EvaluationText("t", "Name a river.", ("",))])
    ownership.require_free(run)  # Of a start that was killed before the journal's header.


def test_without_a_journal_nothing_is_removed(tmp_path: Path) -> None:
    before = write(tmp_path, NO_RUNS)
    run = RunDirectory(tmp_path)
    ownership.discard(run)
    assert content(tmp_path) == before
    with pytest.raises(ConfigError, match=r"over .*: config\.yaml, dataset, evaluation, model, report\.html"):
        ownership.require_overwritable(run, [])
    write(tmp_path, ["journal.jsonl"])
    with pytest.raises(ConfigError, match="does not begin as the journal of a run does"):
        ownership.require_overwritable(run, [])


def test_a_model_that_no_training_wrote_stays(run: RunDirectory) -> None:
    run.model.record_path.unlink()
    before = content(run.model.path)
    ownership.discard(run)
    assert content(run.model.path) == before


@pytest.mark.parametrize("read", ["", "model", "model/adapter", "dataset/train.jsonl", "../linked/model"])
def test_what_the_new_run_reads_is_not_overwritten(run: RunDirectory, read: str) -> None:
    (run.path.parent / "linked").symlink_to(run.path)
    with pytest.raises(ConfigError, match="which the new run reads; copy it elsewhere"):
        ownership.require_overwritable(run, ["Qwen/Qwen3-8B", str(run.path / read)])


def test_what_lies_beside_the_run_may_be_read(run: RunDirectory) -> None:
    write(run.path, ["seeds.jsonl"])
    reads = ["Qwen/Qwen3-8B", "seed_tasks", str(run.path / "seeds.jsonl"), str(run.path.parent)]
    ownership.require_overwritable(run, reads)


@pytest.mark.parametrize(
    "name", ["journal.jsonl", "dataset/train.jsonl", "model/checkpoints/checkpoint-3/optimizer.pt"]
)
def test_no_command_writes_its_output_over_a_file_of_a_run(run: RunDirectory, name: str, tmp_path: Path) -> None:
    (tmp_path / "link.jsonl").symlink_to(run.path / name)
    for path in (run.path / name, tmp_path / "link.jsonl"):
        with pytest.raises(ConfigError, match=r"is a file of the run .*; give another file"):
            ownership.require_not_owned(path)
    ownership.require_not_owned(run.path / "similar.jsonl")


@pytest.mark.parametrize(
    "command",
    [
        "explain {run} --similar-all -o {journal}",
        "convert {mine} {journal}",
        "seeds from-dataset {mine} -o {journal}",
        "dedup {mine} -o {journal}",
        "dedup {mine} --rejected {journal}",
    ],
)
def test_a_journal_is_written_over_by_no_command(run: RunDirectory, command: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine.jsonl"
    mine.write_text('{"instruction": "Name a river.", "input": "", "output": "The Elbe."}\n')
    before = run.journal.read_bytes()
    call = [word.format(run=run.path, journal=run.journal, mine=mine) for word in command.split()]
    result = CliRunner().invoke(cli, call)
    assert result.exit_code == 2
    assert "is a file of the run" in result.stderr
    assert run.journal.read_bytes() == before


def test_a_start_that_was_killed_early_is_in_nobodys_way(run: RunDirectory) -> None:
    for path in run.path.iterdir():
        if path not in (run.schedule, run.metrics_path, run.engine, run.probe, run.config_path):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    run.journal.touch()
    ownership.require_free(run)
    ownership.require_overwritable(run, [])
