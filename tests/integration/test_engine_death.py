"""The real vLLM hangs, or outlives its driver, and the run continues; `test_chain.py` kills it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from selfinstruct.engines.processes import lives
from selfinstruct.run.journal import read_lines
from selfinstruct.run.state import replay
from tests.conftest import journal_lines

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(1800)]

TARGET = 30
OPTIONS = [
    *("--model", "demo", "--num-instructions", str(TARGET), "--window", "8", "--max-in-flight", "32"),
    *("--max-tokens", "300", "--proposal.presence-penalty", "0", "--top-p", "0.9"),
    *("--instances.max-tokens", "96", "--instances.presence-penalty", "0"),
]
PATIENCE_S = 900.0  # on a machine that is busy with other things


class Run:
    """Start `selfinstruct generate` repeatedly on one run directory; end its processes with the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[str]
        self._seen: set[psutil.Process] = set()

    def start(self, *options: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "selfinstruct", "generate", "--output-dir", str(self.folder), *OPTIONS, *options],
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | environment,
        )

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition is true; fail if the program ends before that."""
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.process.poll() is None, self.process.communicate()[1]
            assert time.monotonic() < end, f"it is still not so after {PATIENCE_S:g} s"
            time.sleep(0.05)

    def until_it_commits(self) -> None:
        journal = self.folder / "journal.jsonl"
        self.until(lambda: journal.exists() and journal.read_bytes().count(b"\n") > 4)

    def engine(self) -> list[psutil.Process]:
        """Return the engine's processes, as the run directory names them."""
        note = json.loads((self.folder / ".engine.json").read_text())
        found = [psutil.Process(row["pid"]) for row in note["processes"]]
        self._seen.update(found)
        return found

    def end(self) -> str:
        """Wait for the end; return stderr."""
        return self.process.communicate(timeout=PATIENCE_S)[1]

    def clear_up(self) -> None:
        if self.process.poll() is None:
            self._seen.update(psutil.Process(self.process.pid).children(recursive=True))
            self.process.kill()
        self.process.communicate()
        for process in filter(lives, self._seen):
            process.kill()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path / "run")
    yield run
    run.clear_up()


def check_whole(run: Run, said: str, cause: str) -> None:
    """Check that the run ended after a restart, and that its journal is correct."""
    assert run.process.returncode == 0, said
    lines = journal_lines(run.folder)
    proposals = [line["n"] for line in lines if line["kind"] == "proposal"]
    assert proposals == list(range(len(proposals)))
    followed = [(line["kind"], line["id"]) for line in lines if line["kind"] in ("classification", "instances")]
    assert len(followed) == len(set(followed))
    state = replay(read_lines(run.folder / "journal.jsonl"))
    assert state.complete and len(state.pool) == TARGET and not state.failures.keys() & {("proposal", "refused")}
    assert cause in said and said.count("the engine is back") >= 1
    metrics = [json.loads(row) for row in (run.folder / "metrics.jsonl").read_text().splitlines()]
    restarts = [row for row in metrics if row.get("event") == "engine_restarted"]
    assert restarts and cause in restarts[0]["cause"] and restarts[0]["resent"] >= 1
    assert not (run.folder / ".engine.json").exists()


def test_an_engine_that_is_stopped_is_a_hang_and_is_replaced(run: Run) -> None:
    run.start("--stall-timeout", "10")
    run.until_it_commits()
    first = run.engine()
    for process in first:
        process.send_signal(signal.SIGSTOP)
    check_whole(run, run.end(), "no progress for 10 s")
    assert not list(filter(lives, first))


def test_an_engine_that_outlived_its_driver_is_ended_by_the_next_start(run: Run) -> None:
    """Start without the plugin that ends an engine with its driver. A signal ends the next start while it loads."""
    run.start(VLLM_PLUGINS="none")
    run.until_it_commits()
    orphans = run.engine()
    run.process.kill()
    run.process.wait()  # Its stderr stays open: the orphans have it.
    assert any(map(lives, orphans))
    run.start()
    run.until(lambda: not any(map(lives, orphans)) and not (run.folder / ".engine.json").exists())
    time.sleep(1)  # Otherwise the signal may come before the message about them.
    run.process.send_signal(signal.SIGINT)
    said = run.end()
    assert run.process.returncode == 130, said
    assert f"left behind: {', '.join(str(p.pid) for p in orphans)}" in said
    assert not (run.folder / ".engine.json").exists()
