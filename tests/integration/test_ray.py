"""Ray Serve LLM with two replicas of the demo model on the CPU: one is killed with -9 while a run goes on over them.

The application is that of `deploy/`, changed as `docs/endpoints.md` says.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from selfinstruct.engines.processes import lives
from selfinstruct.packaged import model_path
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.journal import read_lines
from selfinstruct.run.state import replay
from tests.conftest import journal_lines
from tests.integration.commands import selfinstruct
from tests.integration.test_endpoints import free_port

pytestmark = [
    pytest.mark.integration,
    pytest.mark.long,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: docs/endpoints.md says how"),
]

APPLICATION = Path(__file__).parents[2] / "deploy" / "ray_serve_llm.yaml"
TARGET = 200
"""Instructions; as many more, and again, where the run is completed before the replica is back."""
PATIENCE_S = 1200.0  # on a machine that is busy with other things


def on_cpus(port: int) -> dict[str, Any]:
    """Return the application for two replicas of the demo model, which take one CPU each."""
    content: dict[str, Any] = yaml.safe_load(APPLICATION.read_text())
    content["http_options"] = {"host": "127.0.0.1", "port": port}
    [application] = content["applications"]
    [model] = application["args"]["llm_configs"]
    model["model_loading_config"]["model_source"] = str(model_path())
    del model["accelerator_type"]
    model["placement_group_config"] = {"bundle_per_worker": {"CPU": 1}}
    model["runtime_env"] = {"env_vars": {"VLLM_CPU_OMP_THREADS_BIND": "nobind"}}
    model["deployment_config"] |= {"num_replicas": 2, "ray_actor_options": {"num_cpus": 0}}
    model["engine_kwargs"] |= {"max_model_len": 2048, "enforce_eager": True}
    application["args"]["ingress_deployment_config"] = {"ray_actor_options": {"num_cpus": 0}}
    return content


class Ray:
    """`serve run` with a Ray of its own, whatever else of Ray runs on this machine.

    Args:
        folder: for the application, and what is printed.
    """

    def __init__(self, folder: Path) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}/v1"
        self.said = folder / "serve.log"
        self.files = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # The paths of its sockets have to be short.
        application = folder / "application.yaml"
        application.write_text(yaml.safe_dump(on_cpus(port)))
        settings = {
            **{"RAY_TMPDIR": str(self.files), "RAY_USAGE_STATS_ENABLED": "0"},
            **{"RAY_process_group_cleanup_enabled": "1", "RAY_worker_niceness": "0"},
            **{"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)},  # Else it writes one into the home.
        }
        with self.said.open("wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ray.serve.scripts", "run", "--address", "local", str(application)],
                stdout=stream,
                stderr=stream,
                start_new_session=True,
                env=os.environ | settings,
            )
        self._seen: set[psutil.Process] = set()

    def replicas(self) -> list[psutil.Process]:
        """Return the processes of the model's replicas, the oldest first."""
        below = psutil.Process(self.process.pid).children(recursive=True)
        self._seen.update(below)
        return sorted((p for p in below if "LLMServer:generator" in title(p)), key=lambda p: p.create_time())

    def log(self, replica: psutil.Process) -> str:
        """Return what Ray has written down of a replica."""
        logs = self.files.glob(f"ray/session_2*/logs/worker-*-{replica.pid}.err")
        return "".join(log.read_text(errors="replace") for log in logs)

    def has_started(self, replica: psutil.Process) -> bool:
        return "Started vLLM engine" in self.log(replica)

    def has_answered(self, replica: psutil.Process) -> bool:
        return "CALL completions OK" in self.log(replica)

    def until(self, condition: Callable[[], bool], *others: subprocess.Popen[bytes]) -> None:
        """Wait until the condition is true; fail if a process that is needed for it ends before that."""
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert all(process.poll() is None for process in (self.process, *others)), self.said.read_text()[-8000:]
            assert time.monotonic() < end, self.said.read_text()[-8000:]
            time.sleep(0.2)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.replicas()
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for process in filter(lives, self._seen):
            process.kill()
        shutil.rmtree(self.files, ignore_errors=True)


def title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.fixture
def ray(tmp_path: Path) -> Iterator[Ray]:
    ray = Ray(tmp_path)
    try:
        yield ray
    finally:
        ray.stop()


class Generation:
    """A run over an endpoint, which goes on to a higher target when it is completed."""

    def __init__(self, folder: Path, url: str) -> None:
        self.run, self.target, self._said = folder / "run", 0, folder / "said"
        self._url = url
        self.go_on()

    def go_on(self) -> None:
        self.target += TARGET
        command = [sys.executable, "-m", "selfinstruct", "generate", "--model", "generator", "--endpoint", self._url]
        command += ["--output-dir", str(self.run), "--num-instructions", str(self.target)]
        with self._said.open("ab") as said:
            self.process = subprocess.Popen(
                [*command, "--window", "8", "--max-in-flight", "16"], stdout=said, stderr=said
            )

    def has_committed(self) -> bool:
        journal = self.run / "journal.jsonl"
        return journal.exists() and journal.read_bytes().count(b"\n") > 4

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def is_completed(self) -> None:
        assert self.process.wait(PATIENCE_S) == 0, self._said.read_text()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def generation(ray: Ray, tmp_path: Path) -> Iterator[Generation]:
    ray.until(lambda: len(ray.replicas()) == 2 and all(map(ray.has_started, ray.replicas())))
    generation = Generation(tmp_path, ray.url)
    try:
        yield generation
    finally:
        generation.stop()


def test_a_run_is_completed_while_a_replica_dies_and_comes_back(ray: Ray, generation: Generation) -> None:
    first, second = ray.replicas()
    ray.until(generation.has_committed, generation.process)
    ray.until(lambda: all(map(ray.has_answered, (first, second))), generation.process)
    engine = second.children(recursive=True)
    assert any("EngineCor" in process.name() for process in engine), engine
    second.kill()

    def is_back() -> bool:
        return any(map(ray.has_answered, set(ray.replicas()) - {first, second}))

    ray.until(lambda: is_back() or generation.has_ended())
    while not is_back():
        generation.is_completed()
        generation.go_on()
        ray.until(lambda: is_back() or generation.has_ended())
    assert lives(first) and not any(map(lives, engine)), "one dies, with all that it had started"
    generation.is_completed()
    assert_complete(generation.run, generation.target)


def assert_complete(run: Path, target: int) -> None:
    """Check that every request has one outcome, and that none of them is a failure of the endpoint."""
    state, lines = RunDirectory(run).state(), journal_lines(run)
    assert state.complete and len(state.pool) == target
    numbers = [line["n"] for line in lines if line["kind"] == "proposal"]
    assert numbers == list(range(len(numbers)))
    for kind in ("classification", "instances"):
        assert sorted(line["id"] for line in lines if line["kind"] == kind) == sorted(i.id for i in state.pool)
    assert not replay(read_lines(run / "journal.jsonl")).failures
    status = json.loads(selfinstruct("status", str(run), "--json").stdout)
    counts = status["candidates"]
    assert status["complete"] and counts["total"] == counts["accepted"] + sum(counts["reasons"].values())
