"""Runs that are really killed, at random moments, end like runs that were not."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from selfinstruct import stages
from selfinstruct.config import Config
from selfinstruct.journal import RunDirectory, read_lines
from selfinstruct.state import replay
from tests.conftest import journal_lines, run_scripted

ROOT = Path(__file__).parents[2]


class Driven:
    """A run in processes of its own."""

    def __init__(self, folder: Path, config: Config, **extra: Any) -> None:
        self.path = Path(str(config.output_dir))
        self.config = config
        self.journal = self.path / "journal.jsonl"
        self._file = folder / f"{self.path.name}.json"
        self._file.write_text(json.dumps(config.model_dump(mode="json") | extra))

    def start(self, latency_seed: int = 0, **options: Any) -> subprocess.Popen[str]:
        """Start (or continue) the run."""
        command = [sys.executable, "-m", "tests.faults.driver", str(self._file), str(latency_seed)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        return subprocess.Popen(command, cwd=ROOT, text=True, **pipes | options)

    def finish(self, latency_seed: int = 0) -> str:
        """Let it run to its end; returns what it said."""
        process = self.start(latency_seed)
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
        return said

    def wait_for_lines(self, least: int, process: subprocess.Popen[str]) -> None:
        """Until the journal holds so many lines, or the process has ended."""
        while process.poll() is None:
            if self.journal.exists() and self.journal.read_bytes().count(b"\n") >= least:
                return
            time.sleep(0.002)


def assert_same(run: Path, whole: Path, config: Config) -> None:
    """The promise: same proposals in the same order, same set of lines, identical exports."""
    ours, theirs = journal_lines(run), journal_lines(whole)
    assert ours[0] == theirs[0]
    assert [x for x in ours if x["kind"] == "proposal"] == [x for x in theirs if x["kind"] == "proposal"]
    assert sorted(map(json.dumps, ours)) == sorted(map(json.dumps, theirs))
    files = []
    for folder in (run, whole):
        stages.export(config.model_copy(update={"output_dir": str(folder)}))
        dataset = folder / "dataset"
        files.append({str(p.relative_to(dataset)): p.read_bytes() for p in dataset.rglob("*") if p.is_file()})
    assert files[0] == files[1]


def kill_until_done(driven: Driven, draw: random.Random, signals: list[int], most_kills: int) -> tuple[int, int]:
    """Start, kill at a random moment, start again ... until it is done; returns (kills, torn lines)."""
    kills = torn = 0
    while True:
        process = driven.start(draw.randrange(10**6))
        if kills < most_kills:
            number = draw.choice(signals)
            if number != signal.SIGKILL:
                # While Python itself starts nobody listens: such a signal kills like any other program.
                assert process.stdout is not None
                process.stdout.readline()
            done = driven.journal.read_bytes().count(b"\n") if driven.journal.exists() else 0
            driven.wait_for_lines(done + draw.randint(0, 12), process)
            time.sleep(draw.random() * 0.01)
            process.send_signal(number)
        _, said = process.communicate(timeout=120)
        torn += "bytes moved to" in said
        if process.returncode == 0:
            return kills, torn
        assert process.returncode in (*(-number for number in SIGNALS), 130, 143, 129), said
        assert "Traceback" not in said and "never retrieved" not in said, said
        kills += 1


SIGNALS = [signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def test_random_kills(make_config: Any, tmp_path: Path) -> None:
    _random_kills(make_config, tmp_path, runs=2, target=40)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_two_hundred_random_kills(make_config: Any, tmp_path: Path) -> None:
    assert _random_kills(make_config, tmp_path, runs=20, target=60) >= 200


def _random_kills(make_config: Any, tmp_path: Path, runs: int, target: int) -> int:
    whole = make_config(output_dir=str(tmp_path / "whole"), num_instructions=target)
    run_scripted(whole)
    kills = 0
    for number in range(runs):
        config = make_config(output_dir=str(tmp_path / f"killed-{number}"), num_instructions=target)
        driven = Driven(tmp_path, config, latency=0.02)
        found, _ = kill_until_done(driven, random.Random(number), SIGNALS, most_kills=40)
        assert found >= 3, "hardly ever killed, so this test shows nothing"
        kills += found
        assert_same(driven.path, tmp_path / "whole", whole)
    return kills


# ----------------------------------------------------------------------------------------------------------- signals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_leaves_in_good_order(make_config: Any, tmp_path: Path, number: int, code: int) -> None:
    driven = Driven(tmp_path, make_config(num_instructions=300), latency=0.02)
    process = driven.start()
    driven.wait_for_lines(20, process)
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert process.returncode == code
    assert f"stopped by {signal.Signals(number).name}" in said and "same command continues" in said
    assert "Traceback" not in said and "never retrieved" not in said
    assert driven.journal.read_bytes().endswith(b"\n")
    assert not list(driven.path.glob("*.owner"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_heard_while_the_engine_loads(make_config: Any, tmp_path: Path, number: int) -> None:
    driven = Driven(tmp_path, make_config(), load=60)
    process = driven.start()
    assert process.stdout is not None and process.stdout.readline() == "loading\n"
    time.sleep(0.1)
    began = time.monotonic()
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert time.monotonic() - began < 5
    assert process.returncode == 128 + number
    assert "Traceback" not in said and "never retrieved" not in said


def test_a_second_interrupt_leaves_at_once(make_config: Any, tmp_path: Path) -> None:
    """The first one here waits for a disk that does not answer."""
    driven = Driven(tmp_path, make_config(num_instructions=300), latency=0.02)
    # Only the journal's own fsyncs matter: those before it would hold up the start.
    (tmp_path / "sitecustomize.py").write_text(
        "import os, time\nreal = os.fsync\n"
        "def slow(fd):\n"
        "    if os.readlink(f'/proc/self/fd/{fd}').endswith('journal.jsonl'):\n"
        "        time.sleep(30)\n"
        "    real(fd)\n"
        "os.fsync = slow\n"
    )
    process = driven.start(env=os.environ | {"PYTHONPATH": str(tmp_path)})
    driven.wait_for_lines(20, process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None, "it had no reason to wait, so this test shows nothing"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=5)
    assert process.returncode == -signal.SIGINT
    assert replay(read_lines(driven.journal)).proposals > 0


def test_an_ignored_hangup_stays_ignored(make_config: Any, tmp_path: Path) -> None:
    """As under nohup."""
    driven = Driven(tmp_path, make_config(), latency=0.02)
    process = driven.start(preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    driven.wait_for_lines(10, process)
    process.send_signal(signal.SIGHUP)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert replay(journal_lines(driven.path)).complete


# ----------------------------------------------------------------------------------------- full disk, two at once


def test_a_full_disk_is_said_clearly_and_loses_nothing(make_config: Any, tmp_path: Path) -> None:
    whole = make_config(output_dir=str(tmp_path / "whole"))
    run_scripted(whole)
    size = (tmp_path / "whole" / "journal.jsonl").stat().st_size
    driven = Driven(tmp_path, make_config(), latency=0.005, file_limit=size // 2 // 512 * 512 + 1)
    process = driven.start()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1, said
    assert "journal.jsonl: cannot be written: File too large" in said and "make room" in said
    assert "Traceback" not in said and "never retrieved" not in said
    kept = driven.journal.read_bytes().split(b"\n")[:-1]
    said = Driven(tmp_path, make_config(), latency=0.005).finish()
    assert driven.journal.read_bytes().split(b"\n")[: len(kept)] == kept
    assert_same(driven.path, tmp_path / "whole", whole)


def test_two_processes_never_write_one_directory(make_config: Any, tmp_path: Path) -> None:
    driven = Driven(tmp_path, make_config(num_instructions=300), latency=0.05)
    first = driven.start()
    driven.wait_for_lines(3, first)
    second = driven.start()
    _, said = second.communicate(timeout=20)
    assert second.returncode == 5
    assert f"process {first.pid} on {os.uname().nodename}" in said
    first.kill()
    first.communicate()
    # The lock of the dead process is gone with it; what it left behind blocks nobody.
    with RunDirectory(driven.path).locked():
        pass
