"""The real vLLM: what only it can show, and no process of it is left when its program is killed with -9."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from selfinstruct import environment
from selfinstruct.engines import vllm_plugin

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
PATIENCE_S = 200.0
"""On a machine that is busy with other things; less than the time that vLLM itself waits for a dead driver."""


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    driver = Driver(tmp_path / "stderr")
    yield driver
    driver.clear_up()


class Driver:
    """A program with the demo engine, and the processes that it was seen to have."""

    def __init__(self, log: Path) -> None:
        command = [sys.executable, "-m", "tests.integration.engine_driver"]
        self.log = log
        with log.open("wb") as stream:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=stream, text=True)
        self.children: list[psutil.Process] = []

    def look(self) -> list[psutil.Process]:
        """Return its processes of this moment."""
        self.children = psutil.Process(self.process.pid).children(recursive=True)
        return self.children

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE_S)

    def clear_up(self) -> None:
        self.process.kill()
        self.process.communicate()
        for child in filter(_alive, self.children):
            child.kill()


def _gone(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait at most `seconds` for the processes to end; return those still alive. A zombie counts as ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(map(_alive, processes)):
        time.sleep(0.05)
    return [p for p in processes if _alive(p)]


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_engine_is_as_it_should_be_and_kill_9_leaves_no_process_of_it(driver: Driver) -> None:
    """One engine for both: a start takes most of the time. `engine_driver.py` says what is checked."""
    assert driver.process.stdout is not None
    assert driver.process.stdout.readline() == "checked\n", driver.log.read_text()[-3000:]
    children = driver.look()
    commands = [" ".join([child.name(), *child.cmdline()]) for child in children]
    assert any("EngineCore" in command for command in commands), commands
    driver.kill()
    assert _gone(children, PATIENCE_S) == []


def test_a_driver_that_dies_while_the_engine_loads_leaves_none_either(driver: Driver) -> None:
    end = time.monotonic() + PATIENCE_S
    while not _spawned(driver.look()) and time.monotonic() < end:
        time.sleep(0.02)
    assert _spawned(driver.children), "the engine was never started"
    driver.kill()
    # The engine ends once it has imported the plugin. Without the plugin it would wait five minutes for its driver.
    assert _gone(driver.children, PATIENCE_S) == []


def _spawned(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return the children that multiprocessing spawned, without its resource tracker."""
    found = []
    for process in processes:
        try:
            if "spawn_main" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def test_the_plugin_leaves_other_processes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the driver itself, in a process that runs vLLM for another program, and in one that Ray started."""
    monkeypatch.setattr(ctypes, "CDLL", lambda name: pytest.fail("the plugin wants to watch this process"))
    monkeypatch.delenv(environment.PARENT, raising=False)
    vllm_plugin.end_with_parent()
    monkeypatch.setenv(environment.PARENT, "1")
    vllm_plugin.end_with_parent()
    monkeypatch.setattr(sys, "orig_argv", ["python", "--multiprocessing-fork"])
    monkeypatch.setenv(environment.PARENT, str(os.getpid()))
    vllm_plugin.end_with_parent()
