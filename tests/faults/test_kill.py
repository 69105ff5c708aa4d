"""Runs that are really killed, at random moments, end like runs that were not."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.generation.rate import rate
from selfinstruct.generation.tag import tag
from selfinstruct.replay.status import status
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.journal import read_lines
from selfinstruct.run.state import replay
from tests.conftest import journal_lines, run_scripted, script
from tests.faults.driven import PATIENCE_S, Driven, kill_until_done
from tests.faults.same import assert_same

SIGNALS = [signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
ENDLESS = 100_000
"""Instructions of a run that does not end before it is killed, however slow the test is."""


@pytest.mark.parametrize(
    "options",
    [
        {"answering": "inline"},
        {"answering": "separate"},
        {"answer": {"num_samples": 3, "keep": "all", "model": "another"}},
        {"answering": "separate", "answer": {"num_samples": 2}, "rate": {"beside": True}},
    ],
)
def test_random_kills(make_config: Any, tmp_path: Path, options: dict[str, Any]) -> None:
    """A few kills; `make torture` makes many. Scores that a killed run did not give are given at its end."""
    whole = make_config(output_dir=str(tmp_path / "whole"), num_instructions=40, **options)
    run_scripted(whole, answering=ScriptedEngine(script))
    rates = whole.rate.beside
    assert (b'"kind":"score"' in (tmp_path / "whole" / "journal.jsonl").read_bytes()) == rates
    found: Counter[str] = Counter()

    def kills() -> int:
        return sum(found[signal.Signals(s).name] for s in set(SIGNALS))

    number = 0
    while number < 3 or kills() < 4:  # On a busy machine, a run may end before it is killed.
        assert number < 12, "killed too rarely: this shows nothing"
        config = make_config(output_dir=str(tmp_path / f"killed-{number}"), num_instructions=40, **options)
        driven = Driven(tmp_path, config, latency=0.05, rates=rates)
        found += kill_until_done(driven, random.Random(number), SIGNALS, most_kills=8)
        assert_same(config, whole)
        number += 1


@pytest.mark.parametrize(("asks", "kind"), [(rate, "score"), (tag, "tags")])
def test_killed_ratings_end_like_one_that_was_not(
    make_config: Any, tmp_path: Path, asks: Callable[..., object], kind: str
) -> None:
    """The answers are there before; each start is killed while it scores them, or tags their tasks."""
    options: dict[str, Any] = {"answering": "separate", "answer": {"num_samples": 3}, "num_instructions": 25}
    whole = make_config(output_dir=str(tmp_path / "whole"), **options)
    run_scripted(whole)
    generated = (tmp_path / "whole" / "journal.jsonl").read_bytes()

    async def start() -> ScriptedEngine:
        return ScriptedEngine(script)

    asks(whole, start)
    expected = (tmp_path / "whole" / "journal.jsonl").read_bytes()
    assert expected.count(f'"kind":"{kind}"'.encode()) > 15
    config = make_config(output_dir=str(tmp_path / "killed"), **options)
    run_scripted(config)
    driven = Driven(tmp_path, config, latency=0.05, rates=kind == "score", tags=kind == "tags")
    driven.journal.write_bytes(generated)
    draw, killed = random.Random(1), 0
    while killed < 4:
        process = driven.start(killed)
        driven.wait_for_lines(driven.num_lines() + 3, process)
        process.kill()
        process.communicate(timeout=PATIENCE_S)
        assert expected.startswith(driven.journal.read_bytes().rpartition(b"\n")[0])
        killed += 1
        if draw.random() < 0.5 and driven.num_lines() > generated.count(b"\n"):
            driven.tear(draw)
    driven.finish()
    assert driven.journal.read_bytes() == expected


# ----------------------------------------------------------------------------------------------------------- signals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_leaves_in_good_order(make_config: Any, tmp_path: Path, number: int, code: int) -> None:
    driven = Driven(tmp_path, make_config(num_instructions=ENDLESS), latency=0.02)
    process = driven.start()
    driven.wait_for_lines(20, process)
    process.send_signal(number)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code
    assert f"stopped by {signal.Signals(number).name}" in said and "same command continues" in said
    assert "Traceback" not in said and "never retrieved" not in said
    assert driven.journal.read_bytes().endswith(b"\n")
    *lines, last = journal_lines(driven.path)
    done = sum(line["kind"] == "proposal" for line in lines)
    name = signal.Signals(number).name
    assert last == {"kind": "control", "event": "interrupted", "after_proposal": done - 1, "signal": name}
    assert str(status(driven.path).reason).startswith(f"stopped by {name}")
    assert not list(driven.path.glob("*.owner"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_heard_while_the_engine_loads(make_config: Any, tmp_path: Path, number: int) -> None:
    driven = Driven(tmp_path, make_config(), load=2 * PATIENCE_S)
    process = driven.start()
    assert process.stdout is not None and process.stdout.readline() == "loading\n"
    time.sleep(0.1)
    process.send_signal(number)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 128 + number
    assert "Traceback" not in said and "never retrieved" not in said


def test_a_second_interrupt_leaves_at_once(make_config: Any, tmp_path: Path) -> None:
    """The first process here waits for a disk that does not answer."""
    driven = Driven(tmp_path, make_config(num_instructions=ENDLESS), latency=0.02)
    # Only the journal's own fsyncs matter: those before it would hold up the start.
    (tmp_path / "sitecustomize.py").write_text(
        "import os, time\nreal = os.fsync\n"
        "def slow(fd):\n"
        "    if os.readlink(f'/proc/self/fd/{fd}').endswith('journal.jsonl'):\n"
        f"        time.sleep({2 * PATIENCE_S})\n"
        "    real(fd)\n"
        "os.fsync = slow\n"
    )
    process = driven.start(env=os.environ | {"PYTHONPATH": str(tmp_path)})
    driven.wait_for_lines(20, process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None, "it had no reason to wait, so this test shows nothing"
    until = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < until:
        process.send_signal(signal.SIGINT)  # Again: two that come before the process runs count as one.
        time.sleep(0.05)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == -signal.SIGINT
    assert replay(read_lines(driven.journal)).proposals > 0


def test_an_ignored_hangup_stays_ignored(make_config: Any, tmp_path: Path) -> None:
    """As under nohup."""
    driven = Driven(tmp_path, make_config(), latency=0.02)
    process = driven.start(preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    driven.wait_for_lines(10, process)
    process.send_signal(signal.SIGHUP)
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said
    assert replay(read_lines(driven.journal)).complete


# ----------------------------------------------------------------------------------------- full disk, two at once


def test_a_full_disk_is_said_clearly_and_loses_nothing(make_config: Any, tmp_path: Path) -> None:
    options = {"filters": {"near_evaluation": "off"}}  # Its file would meet the limit before the journal does.
    whole = make_config(output_dir=str(tmp_path / "whole"), **options)
    run_scripted(whole)
    size = (tmp_path / "whole" / "journal.jsonl").stat().st_size
    driven = Driven(tmp_path, make_config(**options), latency=0.005, file_limit=size // 2 // 512 * 512 + 1)
    process = driven.start()
    _, said = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1, said
    assert "journal.jsonl: cannot be written: File too large" in said and "make room" in said
    assert "Traceback" not in said and "never retrieved" not in said
    kept = driven.journal.read_bytes().split(b"\n")[:-1]
    said = Driven(tmp_path, make_config(**options), latency=0.005).finish()
    assert driven.journal.read_bytes().split(b"\n")[: len(kept)] == kept
    assert_same(driven.config, whole)


def test_two_processes_never_write_one_directory(make_config: Any, tmp_path: Path) -> None:
    driven = Driven(tmp_path, make_config(num_instructions=ENDLESS), latency=0.05)
    first = driven.start()
    driven.wait_for_lines(3, first)
    second = driven.start()
    _, said = second.communicate(timeout=PATIENCE_S)
    assert second.returncode == 5
    assert f"process {first.pid} on {os.uname().nodename}" in said
    first.kill()
    first.communicate()
    # The lock ended with its process; the files that are left block no other process.
    with RunDirectory(driven.path).locked():
        pass
