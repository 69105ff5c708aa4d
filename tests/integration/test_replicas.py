"""The real vLLM in two replicas: one is killed with -9, the other goes on, and it comes back."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from selfinstruct.engines.processes import lives
from selfinstruct.run.journal import read_lines
from selfinstruct.run.state import replay
from tests.conftest import journal_lines
from tests.integration.test_engine_death import Run

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(1800)]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path / "run")
    yield run
    run.clear_up()


def replicas(run: Run) -> list[psutil.Process]:
    """Return the processes of ours, in each of which a whole engine runs."""
    return [process for process in run.engine() if "replica_process" in " ".join(process.cmdline())]


def test_a_replica_that_is_killed_dies_alone(run: Run) -> None:
    run.start("--data-parallel-size", "2", "--num-instructions", "9000")  # More than are accepted until it is back.
    run.until_it_commits()
    first, second = sorted(replicas(run), key=lambda process: process.create_time())
    cores = {replica: replica.children(recursive=True) for replica in (first, second)}
    assert all(any("EngineCor" in core.name() for core in below) for below in cores.values()), cores
    second.send_signal(signal.SIGKILL)
    committed = len(journal_lines(run.folder))
    run.until(lambda: len(journal_lines(run.folder)) > committed + 20)
    metrics = run.folder / "metrics.jsonl"
    assert "engine_restarted" not in metrics.read_text(), "the other answers before this one is back"
    run.until(lambda: "engine_restarted" in metrics.read_text())
    assert lives(first) and all(map(lives, cores[first])), "one dies, not all"
    assert not any(map(lives, cores[second])), "what it had started ended with it"
    [replaced] = [process for process in replicas(run) if process != first]
    assert replaced != second
    run.process.send_signal(signal.SIGINT)
    said = run.end()
    assert run.process.returncode == 130, said
    assert "replica 1: its process ended: killed by SIGKILL" in said
    assert not any(map(lives, [first, replaced, *cores[first]]))
    restarts = [json.loads(row) for row in metrics.read_text().splitlines() if "engine_restarted" in row]
    assert len(restarts) == 1 and restarts[0]["resent"] >= 1
    assert "EngineCore" in (run.folder / "libraries.log").read_text()
    lines = journal_lines(run.folder)
    proposals = [line["n"] for line in lines if line["kind"] == "proposal"]
    assert proposals == list(range(len(proposals)))
    assert not replay(read_lines(run.folder / "journal.jsonl")).failures
