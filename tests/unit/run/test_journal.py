"""The run directory: lock, append, torn and damaged journals, power loss."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.errors import InputError, RunLockedError, SelfInstructError
from selfinstruct.run.appending import set_torn_tail_aside
from selfinstruct.run.control_lines import Interruption
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.journal import JournalWriter, read_lines
from selfinstruct.run.lines import VERSION, Line
from selfinstruct.run.measurements import MetricsWriter
from tests.conftest import held_by_another, journal_lines, run_scripted, script

LINES: list[Line] = [Interruption(0, text) for text in ("plain", "Größe 写诗 🦉", "a\u2028b\x85c\x00d")]


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path / "run")
    directory.path.mkdir()
    return directory


def write(run: RunDirectory, lines: list[Line] = LINES, **options: Any) -> bytes:
    with JournalWriter(run.journal, **options) as journal:
        for line in lines:
            journal.append(line)
    return run.journal.read_bytes()


# ---------------------------------------------------------------------------------------------------- reading, tearing


@pytest.mark.parametrize("interval", [0, 0.01, 10])
def test_what_is_appended_is_read_back(run: RunDirectory, interval: float) -> None:
    write(run, fsync_interval=interval)
    write(run, fsync_interval=interval)
    assert list(read_lines(run.journal)) == LINES + LINES


def test_a_lone_surrogate_is_kept_and_the_file_stays_utf_8(run: RunDirectory) -> None:
    line = Interruption(0, "half \ud83d of a pair, ü")
    write(run, [line]).decode("utf-8")
    assert list(read_lines(run.journal)) == [line]


def test_torn_last_line_at_every_byte_is_set_aside_once(run: RunDirectory) -> None:
    whole = write(run, [LINES[0], LINES[2], LINES[1]])  # The last one holds characters of two, three and four bytes.
    start = whole.rindex(b"\n", 0, -1) + 1
    assert len(whole) - start > 60
    for end in range(start + 1, len(whole)):
        run.torn.unlink(missing_ok=True)
        run.journal.write_bytes(whole[:end])
        assert list(read_lines(run.journal)) == [LINES[0], LINES[2]], "a reader of a live run sees whole lines alone"
        assert set_torn_tail_aside(run.journal, run.torn) == end - start
        assert run.journal.read_bytes() == whole[:start]
        assert run.torn.read_bytes() == whole[start:end] + b"\n"
        assert set_torn_tail_aside(run.journal, run.torn) == 0
        assert run.torn.read_bytes() == whole[start:end] + b"\n"
    run.journal.write_bytes(whole)
    assert set_torn_tail_aside(run.journal, run.torn) == 0


@pytest.mark.parametrize("length", [1, 65535, 65536, 65537, 200_000])
def test_a_long_torn_line_is_found_too(run: RunDirectory, length: int) -> None:
    whole = write(run)
    run.journal.write_bytes(whole + b"x" * length)
    assert set_torn_tail_aside(run.journal, run.torn) == length
    assert run.journal.read_bytes() == whole


def test_a_journal_that_is_nothing_but_a_torn_header(run: RunDirectory) -> None:
    run.journal.write_bytes(b'{"kind":"ru')
    assert set_torn_tail_aside(run.journal, run.torn) == 11
    assert run.journal.read_bytes() == b""


def test_a_torn_line_is_reported_once_and_asked_again(
    make_config: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_config()
    run_scripted(config)
    path = tmp_path / "run" / "journal.jsonl"
    whole = path.read_bytes()
    ends = [k for k, byte in enumerate(whole) if byte == 10]
    for place, cut in [(1, 5), (len(ends) // 2, 40), (len(ends) - 2, 1), (0, -30)]:
        path.write_bytes(whole[: ends[place] + 1 + cut])
        capsys.readouterr()
        run_scripted(config)
        assert capsys.readouterr().err.count("cut short by a crash") == 1
        assert sorted(path.read_bytes().split(b"\n")) == sorted(whole.split(b"\n"))
        run_scripted(config)
        assert "cut short" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "damage",
    [b"\xff\xfe{}", b'{"kind": "proposal", "n"', b"", b"[1, 2]", b'"kind"', b"{}", b"\x00" * 40],
    ids=["no-utf8", "cut", "empty", "list", "string", "no-kind", "zeros"],
)
def test_damage_in_the_middle_is_refused_with_line_and_offset(make_config: Any, tmp_path: Path, damage: bytes) -> None:
    config = make_config()
    run_scripted(config)
    path = tmp_path / "run" / "journal.jsonl"
    lines = path.read_bytes().split(b"\n")
    offset = sum(len(line) + 1 for line in lines[:4])
    lines[4] = damage
    path.write_bytes(b"\n".join(lines))
    before = path.read_bytes()
    with pytest.raises(InputError, match=rf"journal\.jsonl, line 5 \(byte {offset}\): damaged") as caught:
        run_scripted(config)
    assert caught.value.exit_code == 4
    assert path.read_bytes() == before and not (tmp_path / "run" / "journal.jsonl.torn").exists()


def test_a_damaged_first_line_sends_nobody_to_repair(run: RunDirectory) -> None:
    run.journal.write_bytes(b"[]\n" + write(run).split(b"\n", 1)[1])
    with pytest.raises(InputError, match=r"line 1 .*says what the run is, so restore the journal") as caught:
        list(read_lines(run.journal))
    assert "selfinstruct repair" not in str(caught.value)


def test_damage_at_the_very_end_is_no_damage_while_another_process_writes(run: RunDirectory) -> None:
    whole = write(run)
    run.journal.write_bytes(whole + b'{"kind": "pro\n')
    assert list(read_lines(run.journal, live=True)) == LINES
    with pytest.raises(InputError, match="line 4"):
        list(read_lines(run.journal))


# ------------------------------------------------------------------------------------------------------------ writing


class Synced:
    """Knows how much of each file was fsynced; tests/faults/disk.py takes the rest away too."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.size: Counter[Path] = Counter()
        real = os.fsync

        def fsync(handle: int) -> None:
            size = os.fstat(handle).st_size
            real(handle)
            self.size[Path(f"/proc/self/fd/{handle}").readlink()] = size

        monkeypatch.setattr(os, "fsync", fsync)


def test_a_line_is_one_write_and_is_there_when_append_returns(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[bytes] = []
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: (writes.append(data), real(fd, data))[1])
    with JournalWriter(run.journal, fsync_interval=100) as journal:
        for k, line in enumerate(LINES, 1):
            journal.append(line)
            assert run.journal.read_bytes().count(b"\n") == k
    assert len(writes) == len(LINES) and all(data.endswith(b"\n") for data in writes)


def test_interval_zero_syncs_before_append_returns(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = 0
    real = os.fsync

    def fsync(handle: int) -> None:
        nonlocal synced
        synced = os.fstat(handle).st_size
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with JournalWriter(run.journal, fsync_interval=0) as journal:
        for line in LINES:
            journal.append(line)
            assert synced == run.journal.stat().st_size


def test_what_was_appended_is_synced_after_the_interval_and_at_the_end(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = Synced(monkeypatch)
    journal = JournalWriter(run.journal, fsync_interval=0.05)
    for line in LINES:
        journal.append(line)
        time.sleep(0.02)
    deadline = time.monotonic() + 240
    while synced.size[run.journal] < run.journal.stat().st_size and time.monotonic() < deadline:
        time.sleep(0.01)
    assert synced.size[run.journal] == run.journal.stat().st_size
    journal.append(LINES[0])
    journal.close()
    journal.close()
    assert synced.size[run.journal] == run.journal.stat().st_size
    assert not [t for t in threading.enumerate() if t.name == "journal-fsync"]


def test_closing_does_not_wait_for_the_interval(run: RunDirectory) -> None:
    """Else it would wait for a day, and the time limit of tests would end it."""
    write(run, fsync_interval=86_400)


def test_closing_at_any_moment_of_the_interval_ends(run: RunDirectory) -> None:
    """Also just between the syncer's waiting and its taking note of what was written."""
    for k in range(300):
        journal = JournalWriter(run.journal, fsync_interval=0.002)
        journal.append(LINES[0])
        time.sleep(0.0015 + 0.001 * (k % 50) / 50)
        ended = threading.Thread(target=journal.close, daemon=True)
        ended.start()
        ended.join(240)
        assert not ended.is_alive(), "close waits for a thread that waits for it"


def test_a_failed_background_fsync_is_raised_by_the_next_append_and_by_close(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the kernel, having reported the failure once, lets the next fsync succeed."""
    real, failures = os.fsync, []

    def fsync(handle: int) -> None:
        if threading.current_thread().name == "journal-fsync":
            failures.append(handle)
            raise OSError(errno.EIO, "Input/output error")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    journal = JournalWriter(run.journal, fsync_interval=0.01)
    journal.append(LINES[0])
    while any(thread.name == "journal-fsync" for thread in threading.enumerate()):
        time.sleep(0.01)  # The thread ends with the failure that it has noted.
    assert failures
    with pytest.raises(SelfInstructError, match="cannot be written: Input/output error"):
        journal.append(LINES[1])
    with pytest.raises(SelfInstructError, match="Input/output error"):
        journal.close()
    assert list(read_lines(run.journal)) == LINES[:1]


def test_nothing_is_appended_after_a_write_that_failed(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills takes part of a line; a line after that would be damage in the middle."""
    real, room = os.write, 100

    def write_some(handle: int, data: bytes) -> int:
        nonlocal room
        if room == 0:
            room = 10**6  # Someone has made room, too late.
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = real(handle, data[:room])
        room -= taken
        return taken

    monkeypatch.setattr(os, "write", write_some)
    journal = JournalWriter(run.journal)
    journal.append(LINES[0])
    for _ in range(2):
        with pytest.raises(SelfInstructError, match="No space left on device"):
            journal.append(LINES[1])
    with pytest.raises(SelfInstructError):
        journal.close()
    assert set_torn_tail_aside(run.journal, run.torn) > 0
    assert list(read_lines(run.journal)) == LINES[:1]


def test_metrics_that_cannot_be_written_harm_nothing(tmp_path: Path) -> None:
    MetricsWriter(tmp_path / "missing" / "metrics.jsonl").append(accepted=1)
    MetricsWriter(tmp_path / "metrics.jsonl").append(accepted=1)
    assert json.loads((tmp_path / "metrics.jsonl").read_text())["accepted"] == 1


# --------------------------------------------------------------------------------------------------------------- lock


@pytest.mark.whole
def test_a_directory_is_locked_once_and_names_its_owner(run: RunDirectory) -> None:
    with run.locked():
        code = (
            "import sys; from pathlib import Path; from selfinstruct.run.directory import RunDirectory\n"
            "from selfinstruct.errors import RunLockedError\n"
            "try:\n"
            "    with RunDirectory(Path(sys.argv[1])).locked(): pass\n"
            "except RunLockedError as error: print(error); sys.exit(error.exit_code)\n"
        )
        command = [sys.executable, "-c", code, str(run.path)]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        assert found.returncode == 5, found.stderr
        assert f"process {os.getpid()} on {socket.gethostname()}" in found.stdout
    assert subprocess.run(command, check=False).returncode == 0
    with run.locked():
        pass


def test_generate_refuses_a_locked_directory_at_once(make_config: Any, run: RunDirectory) -> None:
    engine = ScriptedEngine(script)
    with held_by_another(run.path), pytest.raises(RunLockedError):
        run_scripted(make_config(), engine)
    assert not engine.history and not run.journal.exists()


@pytest.mark.whole
def test_a_lock_that_a_dead_process_left_never_blocks(run: RunDirectory) -> None:
    code = (
        "import os, sys; from pathlib import Path; from selfinstruct.run.directory import RunDirectory\n"
        "with RunDirectory(Path(sys.argv[1])).locked(): os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(run.path)], check=False).returncode == -9
    assert (run.path / ".lock.owner").exists()
    with run.locked():
        assert json.loads((run.path / ".lock.owner").read_text())["pid"] == os.getpid()


def test_no_child_process_keeps_the_lock(run: RunDirectory) -> None:
    """An engine process that lingers must not hold the directory."""
    with run.locked():
        child = subprocess.Popen(["sleep", "20"], close_fds=False)
    try:
        with run.locked():
            pass
    finally:
        child.kill()
        child.wait()


def test_a_new_run_directory_survives_power_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = Synced(monkeypatch)
    with RunDirectory(tmp_path / "runs" / "new").locked():
        assert tmp_path in synced.size and tmp_path / "runs" in synced.size


def test_nothing_of_the_clock_gets_into_the_journal(make_config: Any, tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        run_scripted(make_config(output_dir=str(tmp_path / name), max_in_flight=1))
        found.append((tmp_path / name / "journal.jsonl").read_bytes())
        time.sleep(0.01)
    assert found[0] == found[1]
    assert journal_lines(tmp_path / "a")[0]["version"] == VERSION
