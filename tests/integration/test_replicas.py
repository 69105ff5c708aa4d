"""The real vLLM in two replicas: one is killed with -9, the other goes on, and the run ends complete."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from selfinstruct.engines.processes import lives
from tests.integration.test_engine_death import Run, check_whole

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
    run.start("--data-parallel-size", "2")
    run.until_it_commits()
    first, second = sorted(replicas(run), key=lambda process: process.create_time())
    cores = {replica: replica.children(recursive=True) for replica in (first, second)}
    assert all(any("EngineCor" in core.name() for core in below) for below in cores.values()), cores
    second.send_signal(signal.SIGKILL)
    metrics = run.folder / "metrics.jsonl"
    run.until(lambda: "engine_restarted" in metrics.read_text() or not lives(first))
    assert lives(first) and all(map(lives, cores[first])), "one dies, not all"
    assert not any(map(lives, cores[second])), "what it had started ended with it"
    [replaced] = [process for process in replicas(run) if process != first]
    assert replaced != second
    check_whole(run, run.end(), "replica 1: its process ended: killed by SIGKILL")
    assert not any(map(lives, [first, replaced, *cores[first]]))
    restarts = [json.loads(row) for row in metrics.read_text().splitlines() if "engine_restarted" in row]
    assert len(restarts) == 1 and "EngineCore" in (run.folder / "libraries.log").read_text()
