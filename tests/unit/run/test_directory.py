"""The run directory and the directory of rounds: paths, and one error for each file that is missing or damaged."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.config.load import load_config
from selfinstruct.errors import ConfigError, InputError, RunLockedError
from selfinstruct.run.counting import run_counts
from selfinstruct.run.directory import RoundsDirectory, RunDirectory
from selfinstruct.run.journal import read_lines
from selfinstruct.run.lock import LockedDirectory, locks_for_stage
from selfinstruct.run.state import NO_HEADER, replay
from tests.conftest import held_by_another

FIXTURE = Path(__file__).parents[2] / "fixtures" / "run_before_layout"


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A copy of a finished run."""
    run = RunDirectory(shutil.copytree(FIXTURE / "generated", tmp_path / "run"))
    run.config_path.write_text(run.config_path.read_text().replace("@FIXTURE@", str(tmp_path)))
    return run


@pytest.fixture
def rounds(tmp_path: Path) -> RoundsDirectory:
    return RoundsDirectory(shutil.copytree(FIXTURE / "rounds", tmp_path / "rounds", symlinks=True))


# --------------------------------------------------------------------------------------------------------------- paths


def test_every_path_is_where_older_versions_put_it() -> None:
    run = RunDirectory(Path("runs/a"))
    paths = {
        run.config_path: "config.yaml",
        run.journal: "journal.jsonl",
        run.torn: "journal.jsonl.torn",
        run.metrics_path: "metrics.jsonl",
        run.dataset.path: "dataset",
        run.model.path: "model",
        run.seeds_dataset.path: "dataset-seeds",
        run.seeds_model.path: "model-seeds",
        run.evaluation.path: "evaluation",
        run.report: "report.html",
        run.schedule: "schedule.json",
        run.stopped: "stopped.json",
        run.engine: ".engine.json",
        run.owner: ".lock.owner",
        run.probe_dataset.path: ".probe/dataset",
        run.probe_model.path: ".probe/model",
    }
    assert paths == {run.path / name: name for name in paths.values()}
    rounds = RoundsDirectory(Path("runs/b"))
    files = (rounds.config_path, rounds.rounds_path, rounds.best, rounds.report)
    assert files == tuple(rounds.path / name for name in ("config.yaml", "rounds.json", "best", "report.html"))
    assert rounds.round("round-01").journal == Path("runs/b/round-01/journal.jsonl")


def test_the_run_as_generated_lies_beside_it() -> None:
    assert RunDirectory(Path("runs/a.b")).generated.path == Path("runs/a.b-generated")


@pytest.mark.parametrize("kind", [RunDirectory, RoundsDirectory])
def test_the_directory_of_a_configuration(kind: type[LockedDirectory]) -> None:
    directory = kind.at("runs/a")
    assert type(directory) is kind and directory.path == Path("runs/a")
    with pytest.raises(ConfigError, match=r"give a run directory: --output-dir RUN"):
        kind.at(None)


def test_making_one_touches_no_disk(tmp_path: Path) -> None:
    for kind in (RunDirectory, RoundsDirectory):
        kind(tmp_path / "a")
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------------------------------- readers


def test_readers_return_what_the_files_hold(run: RunDirectory) -> None:
    state = run.state()
    assert run_counts(state) == run_counts(replay(read_lines(run.journal))) and state.begun
    assert run.header() == state.header
    assert run.require_config() == run.config_path
    assert run.config() == load_config(run.config_path, {})
    rows = [json.loads(line) for line in run.metrics_path.read_text().splitlines()]
    assert [row.accepted for row in run.metrics()] == [row["accepted"] for row in rows if "event" not in row] != []
    assert list(run.metrics(tail_bytes=10)) == []


READERS: dict[str, Callable[[RunDirectory], Any]] = {
    "require_journal": RunDirectory.require_journal,
    "state": RunDirectory.state,
    "header": RunDirectory.header,
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("make", [True, False])
def test_without_a_journal_it_is_no_run_directory(tmp_path: Path, name: str, make: bool) -> None:
    run = RunDirectory(tmp_path / "run")
    if make:
        run.path.mkdir()
    with pytest.raises(InputError, match=r"run is not a run directory: it has no journal\.jsonl; start one"):
        READERS[name](run)


def test_an_empty_journal_has_no_header(run: RunDirectory) -> None:
    run.journal.write_bytes(b"")
    assert run.header() is NO_HEADER and not run.state().begun
    run.journal.write_bytes(b'{"kind": "hea')
    assert run.header() is NO_HEADER, "its first line is still being written"


def test_a_damaged_journal_is_named_with_its_line(run: RunDirectory) -> None:
    header, *rest = run.journal.read_bytes().splitlines(keepends=True)
    run.journal.write_bytes(b"".join([header, b"{broken\n", *rest]))
    with pytest.raises(InputError, match=r"journal\.jsonl.*line 2"):
        run.state()
    assert run.header().version, "which reads the first line alone"
    run.journal.write_bytes(b"{broken\n" + header)
    with pytest.raises(InputError, match=r"journal\.jsonl.*line 1"):
        run.header()


def test_a_damaged_last_line_is_no_error_in_a_live_run_alone(run: RunDirectory) -> None:
    whole = run_counts(run.state())
    with run.journal.open("ab") as stream:
        stream.write(b"\0\0\n")
    assert run_counts(run.state(live=True)) == whole
    with pytest.raises(InputError, match=r"journal\.jsonl, line \d+ .*damaged"):
        run.state()


def test_a_configuration_that_is_missing_or_damaged(run: RunDirectory) -> None:
    run.config_path.write_text("num_instructoins: 5\n")
    with pytest.raises(ConfigError, match=r"config\.yaml.*num_instructoins"):
        run.config()
    assert run.require_config() == run.config_path, "which does not read it"
    run.config_path.unlink()
    for read in (run.config, run.require_config):
        with pytest.raises(InputError, match=r"config\.yaml is missing; give the `selfinstruct generate` command"):
            read()


def test_metrics_may_be_missing_or_damaged(run: RunDirectory) -> None:
    run.metrics_path.write_bytes(b'\xff\n{"time": 1, "accepted": 2}\n{"time": 2')
    assert [row.accepted for row in run.metrics()] == [2]
    run.metrics_path.unlink()
    assert list(run.metrics()) == []


@pytest.mark.parametrize(
    ("raw", "cut"),
    [
        (b'{"cut": ["no judge", 3]}', ["no judge", "3"]),
        (b'{"cut": "no judge"}', []),
        (b"{}", []),
        (b"[]", []),
        (b"{", []),
        (None, []),
    ],
)
def test_what_a_deadline_cut(run: RunDirectory, raw: bytes | None, cut: list[str]) -> None:
    if raw is not None:
        run.schedule.write_bytes(raw)
    assert run.cut_by_deadline() == cut


def test_rounds_that_are_missing_or_damaged(rounds: RoundsDirectory) -> None:
    assert [one.run for one in rounds.rounds().rounds] == ["round-01", "round-02"]
    rounds.rounds_path.write_text("{}")
    with pytest.raises(InputError, match=r"rounds\.json is damaged"):
        rounds.rounds()
    rounds.rounds_path.unlink()
    with pytest.raises(InputError, match=r"rounds\.json: cannot be read"):
        rounds.rounds()


# ------------------------------------------------------------------------------------------------------------- changes


def test_copies_of_a_damaged_journal_are_numbered(run: RunDirectory) -> None:
    assert run.damaged_copies() == []
    for number in (1, 2):
        copy = run.next_damaged_copy()
        assert copy == run.path / f"journal.jsonl.damaged-{number}"
        copy.touch()
    (run.path / "journal.jsonl.damaged-10").touch()
    (run.path / "journal.jsonl.damaged-by-me").touch()
    assert [path.name.rpartition("-")[2] for path in run.damaged_copies()] == ["1", "2", "10"]


def test_best_links_to_the_last_round_named(rounds: RoundsDirectory) -> None:
    (rounds.path / ".best.new").symlink_to("left-by-a-killed-process")
    for name in ("round-01", "round-02"):
        rounds.point_at(name)
        assert rounds.best.readlink() == Path(name)
        assert RunDirectory(rounds.best).header().version
    assert not (rounds.path / ".best.new").is_symlink()


# ---------------------------------------------------------------------------------------------------------------- lock


@pytest.mark.parametrize("kind", [RunDirectory, RoundsDirectory])
def test_a_lock_names_its_owner_while_it_is_held(tmp_path: Path, kind: type[LockedDirectory]) -> None:
    directory = kind(tmp_path / "new" / "run")
    with pytest.raises(ZeroDivisionError), directory.locked():
        assert json.loads(directory.owner.read_text()) == {"pid": os.getpid(), "host": socket.gethostname()}
        with directory.locked():
            pass
        assert directory.owner.exists(), "a block inside shares the lock"
        raise ZeroDivisionError
    assert not directory.owner.exists()
    with directory.locked():
        pass


@pytest.mark.parametrize(
    "name",
    ["journal.jsonl.torn", "metrics.jsonl", "report.html", "dataset", "model/checkpoints", "evaluation/kept", ".lock"],
)
def test_nothing_is_written_through_a_link(run: RunDirectory, tmp_path: Path, name: str) -> None:
    outside, link = tmp_path / "outside", run.path / name
    outside.mkdir()
    if link.is_dir():
        shutil.rmtree(link)
    link.unlink(missing_ok=True)
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside)
    with pytest.raises(InputError, match="outside, and nothing is written through links"), run.locked():
        pass
    assert not any(outside.iterdir())


def test_a_round_is_no_link_and_best_is_one(rounds: RoundsDirectory) -> None:
    rounds.point_at("round-01")
    with rounds.locked(), RunDirectory(rounds.best).locked():
        pass
    (rounds.path / "round-09").symlink_to("round-01")
    with pytest.raises(InputError, match="round-09 is a link"), rounds.locked():
        pass


@pytest.mark.parametrize("raw", [b"", b"{}", b"\xff", None])
def test_an_owner_that_cannot_be_read_is_another_process(tmp_path: Path, raw: bytes | None) -> None:
    directory = RunDirectory(tmp_path / "run")
    with held_by_another(directory.path):
        if raw is not None:
            directory.owner.write_bytes(raw)
        with pytest.raises(RunLockedError, match="written by another process; wait for it"), directory.locked():
            pass


def test_a_directory_of_rounds_is_told_apart_from_a_run(tmp_path: Path) -> None:
    (tmp_path / "rounds.json").write_text("{}")
    with pytest.raises(InputError, match=r"holds rounds; name one of them, for example .*best"):
        RunDirectory(tmp_path).require_journal()


def test_a_lock_whose_end_fails_is_not_handed_to_later_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = RunDirectory(tmp_path / "run")

    def fails(path: Path, missing_ok: bool = False) -> None:
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"), directory.locked():
        assert len(locks_for_stage()[0]) == 1
        monkeypatch.setattr(Path, "unlink", fails)
    assert locks_for_stage()[0] == ()
    monkeypatch.undo()
    with directory.locked():
        pass
