"""Power loss at any moment: what was fsynced is kept, and the run ends like one that was never interrupted."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfinstruct.chain import chain
from selfinstruct.config.schema import Config
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.formats import jsonl
from selfinstruct.run.appending import set_torn_tail_aside
from selfinstruct.run.control_lines import Interruption
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.journal import JournalWriter, read_lines
from selfinstruct.run.lines import encode
from tests.conftest import examples, run_scripted, script
from tests.faults.disk import Disk, MachineStops
from tests.faults.same import assert_same, exported

TARGET = 14


@pytest.fixture
def whole(make_config: Any, tmp_path: Path) -> Config:
    """A run without interruption."""
    config: Config = make_config(output_dir=str(tmp_path / "whole"), num_instructions=TARGET)
    run_scripted(config)
    exported(config)
    return config


@pytest.fixture
def make_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str, int], Disk]]:
    """Return an empty disk of this name; the seed decides its random choices."""
    disks: list[Disk] = []
    patches: list[pytest.MonkeyPatch] = []

    def make(name: str, seed: int) -> Disk:
        if patches:
            patches.pop().undo()
        (tmp_path / name).mkdir()
        patches.append(pytest.MonkeyPatch())
        disks.append(Disk(tmp_path / name, patches[-1], random.Random(seed)))
        return disks[-1]

    yield make
    for patch in patches:
        patch.undo()
    for disk in disks:
        disk.close()


def work(config: Config, seed: int) -> None:
    run_scripted(config, ScriptedEngine(script, latency=0.002, seed=seed))
    chain.export(config)


def interrupt(config: Config, disk: Disk, seed: int, calls: int, power_loss: bool) -> bool:
    """Stop the machine at this change and start it again; return whether the change was reached."""
    disk.stop_after(calls, power_loss=power_loss)
    with contextlib.suppress(MachineStops):
        work(config, seed)
    if disk.stopped:
        disk.restore()
        return True
    disk.stop_after(0)
    return False


# ------------------------------------------------------------------------------------------------------- whole runs

stops = st.lists(st.tuples(st.integers(1, 220), st.sampled_from([True, True, False])), min_size=1, max_size=6)


@settings(
    max_examples=examples(15),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(stops=stops, interval=st.sampled_from([0.0, 0.003, 0.02, 5.0]), seed=st.integers(0, 10**6))
def test_a_run_ends_the_same_wherever_the_power_failed(
    make_config: Any, make_disk: Any, tmp_path: Path, whole: Config, stops: Any, interval: float, seed: int
) -> None:
    name = f"disk-{len(list(tmp_path.iterdir()))}"
    disk = make_disk(name, seed)
    folder = tmp_path / name / "runs" / "night"
    config = make_config(output_dir=str(folder), num_instructions=TARGET, fsync_interval=interval)
    for k, (calls, power_loss) in enumerate(stops):
        if not interrupt(config, disk, seed + k, calls, power_loss):
            break
    work(config, seed)
    assert_same(config, whole)


@pytest.mark.parametrize("interval", [0, 0.004])
def test_many_outages_in_one_run(
    make_config: Any, make_disk: Any, tmp_path: Path, whole: Config, interval: float
) -> None:
    disk, draw = make_disk("disk", 7), random.Random(7)
    folder = tmp_path / "disk" / "run"
    config = make_config(output_dir=str(folder), num_instructions=TARGET, fsync_interval=interval)
    outages = 0
    while interrupt(config, disk, outages, draw.randint(8, 30), draw.random() < 0.7) and outages < 60:
        outages += 1
    assert outages >= 8, "interrupted too rarely, so this test shows nothing"
    work(config, 0)
    assert_same(config, whole)


# --------------------------------------------------------------------------------------------------- committed lines


@settings(max_examples=examples(20), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=st.lists(st.integers(1, 40), min_size=1, max_size=5), kill=st.integers(0, 4), seed=st.integers(0, 10**6))
def test_with_interval_zero_nothing_that_was_committed_is_lost(
    make_disk: Any, tmp_path: Path, calls: list[int], kill: int, seed: int
) -> None:
    """A line is committed when `append` has returned. One interruption may be a kill, after which more can be lost."""
    name = f"disk-{len(list(tmp_path.iterdir()))}"
    disk = make_disk(name, seed)
    run = RunDirectory(tmp_path / name / "a" / "b" / "run")
    committed: list[Any] = []

    def write(most: int) -> None:
        with run.locked():
            if run.journal.exists():
                set_torn_tail_aside(run.journal, run.torn)
                kept = list(read_lines(run.journal))
                assert kept[: len(committed)] == committed
                assert len(kept) <= len(committed) + 1, "one line was under way, at most"
                committed[:] = kept  # A line that is found is committed from now on.
            else:
                assert committed == []
            with JournalWriter(run.journal, fsync_interval=0) as journal:
                for _ in range(most):
                    line = Interruption(len(committed), "Größe 写 \ud800"[: seed % 10])
                    journal.append(line)
                    committed.append(line)

    for k, stop in enumerate(calls):
        disk.stop_after(stop, power_loss=k != kill)
        with pytest.raises(MachineStops):
            write(1000)
        disk.restore()
    write(1)


def test_with_an_interval_the_last_interval_alone_may_be_lost(make_disk: Any, tmp_path: Path) -> None:
    """What an fsync has covered stays, also when recovery itself is interrupted."""
    disk, draw = make_disk("disk", 3), random.Random(3)
    run = RunDirectory(tmp_path / "disk" / "run")
    lost = 0
    for round_ in range(30):
        appended: list[Any] = []
        disk.stop_after(draw.randint(20, 60))
        with pytest.raises(MachineStops), run.locked(), JournalWriter(run.journal, fsync_interval=0.002) as journal:
            while True:
                line = Interruption(round_, f"{len(appended)}{'x' * draw.randint(0, 50)}")
                appended.append(line)
                journal.append(line)
        synced = disk.synced(run.journal)
        disk.restore()
        assert run.journal.exists() or not synced
        if run.journal.exists():
            assert run.journal.read_bytes().startswith(synced)
            for calls in (draw.randint(1, 4), 0):
                disk.stop_after(calls)
                try:
                    set_torn_tail_aside(run.journal, run.torn)
                except MachineStops:
                    disk.restore()
            data = run.journal.read_bytes()
            assert data.startswith(synced[: synced.rfind(b"\n") + 1])
            kept = [
                line
                for line in read_lines(run.journal)
                if isinstance(line, Interruption) and line.after_proposal == round_
            ]
            assert kept == appended[: len(kept)]
            lost += len(appended) - len(kept)
            assert data == b"".join(encode(line) for line in read_lines(run.journal))
    assert lost > 0, "nothing was ever lost, so this test shows nothing"


# -------------------------------------------------------------------------------------------------------- zero-filled


@pytest.mark.parametrize("newlines", [0, 1, 3])
def test_zeros_where_bytes_never_reached_the_disk_are_a_torn_tail(
    make_config: Any, tmp_path: Path, newlines: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also with a newline behind them: the last page of a line may have been written, and those before it not."""
    config = make_config(num_instructions=TARGET)
    run_scripted(config)
    run = RunDirectory(tmp_path / "run")
    whole = run.journal.read_bytes()
    cut = len(whole) - 2500
    tail = bytes(700) + (whole[cut + 700 : cut + 900].replace(b"\n", b" ") + b"\n" + bytes(9)) * newlines
    start = whole.rindex(b"\n", 0, cut) + 1
    if newlines:
        tail = tail[:-9]
    run.journal.write_bytes(whole[:cut] + tail)
    run_scripted(config)
    assert f"{cut - start + len(tail)} bytes moved to" in capsys.readouterr().err.replace("\n", " ")
    assert run.torn.read_bytes() == whole[start:cut] + tail + b"\n"
    assert sorted(run.journal.read_bytes().split(b"\n")) == sorted(whole.split(b"\n"))


# ----------------------------------------------------------------------------------------------------- atomic writing


@settings(max_examples=examples(20), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=st.integers(1, 8), power_loss=st.booleans(), seed=st.integers(0, 10**6))
def test_a_file_that_is_written_atomically_is_the_old_one_or_the_new_one(
    make_disk: Any, tmp_path: Path, calls: int, power_loss: bool, seed: int
) -> None:
    name = f"disk-{len(list(tmp_path.iterdir()))}"
    disk = make_disk(name, seed)
    path = tmp_path / name / "folder" / "x.json"
    old, new = {"old": "a" * 3000}, {"new": "b" * 2000}
    jsonl.write_json(path, old)
    disk.stop_after(calls, power_loss=power_loss)
    try:
        jsonl.write_json(path, new)
    except MachineStops:
        disk.restore()
        assert json.loads(path.read_text()) in (old, new)
        jsonl.write_json(path, new)
    assert json.loads(path.read_text()) == new
    assert list(path.parent.iterdir()) == [path], "what an interrupted attempt left is removed by the next one"
    disk.stop_after(1)
    with pytest.raises(MachineStops):
        (path.parent / "other").mkdir()
    disk.restore()
    assert json.loads(path.read_text()) == new, "it was durable when the call returned"
