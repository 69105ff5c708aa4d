"""No engine process is left when the program that started it is killed with -9 (real vLLM, on CPU or GPU)."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from selfinstruct import environment
from selfinstruct.engines import vllm_plugin

pytestmark = pytest.mark.integration

PATIENCE_S = 200.0
"""On a machine that is busy with other things; less than the time that vLLM itself waits for a dead driver."""

DRIVER = """
import asyncio, sys

async def main():
    from selfinstruct.engines.vllm import VLLMEngine
    engine = await VLLMEngine.start("demo", arguments={"max_model_len": 256})
    print("started", flush=True)
    await asyncio.sleep(600)

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    path = tmp_path / "driver.py"
    path.write_text(DRIVER)
    return path


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


def test_kill_9_leaves_no_engine_process(driver: Path) -> None:
    process = subprocess.Popen([sys.executable, str(driver)], stdout=subprocess.PIPE, text=True)
    children: list[psutil.Process] = []
    try:
        assert process.stdout is not None and process.stdout.readline() == "started\n"
        children = psutil.Process(process.pid).children(recursive=True)
        assert any("EngineCore" in (p.name() + " ".join(p.cmdline())) for p in children), [
            p.cmdline() for p in children
        ]
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)
        assert _gone(children, PATIENCE_S) == []
    finally:
        process.kill()
        process.wait()
        for child in children:
            if _alive(child):
                child.kill()


def test_a_driver_that_dies_while_the_engine_loads_leaves_none_either(driver: Path) -> None:
    process = subprocess.Popen([sys.executable, str(driver)], stdout=subprocess.PIPE, text=True)
    children: list[psutil.Process] = []
    try:
        watched = psutil.Process(process.pid)
        end = time.monotonic() + PATIENCE_S
        while not _spawned(children) and time.monotonic() < end:
            children = watched.children(recursive=True)
            time.sleep(0.02)
        assert _spawned(children), "the engine was never started"
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)
        # The engine ends once it has imported the plugin. Without the plugin it would wait five minutes for its driver.
        assert _gone(children, PATIENCE_S) == []
    finally:
        process.kill()
        process.wait()
        for child in children:
            if _alive(child):
                child.kill()


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
