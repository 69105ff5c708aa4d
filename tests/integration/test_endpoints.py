"""Generation over real servers of vLLM, of which one is killed in between; a run that goes on after a signal."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from selfinstruct.engines.serving import serve_command
from selfinstruct.packaged import model_path
from selfinstruct.run.directory import RunDirectory
from tests.conftest import journal_lines
from tests.integration.commands import interrupted, selfinstruct
from tests.integration.test_chain import CONFIG

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(1800)]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Server:
    """The demo model, served as `serve_command` says."""

    def __init__(self, log: Path, port: int | None = None) -> None:
        self.port = port or free_port()
        program, *arguments = shlex.split(serve_command(model_path()))
        python = sys.executable if program == "python" else str(Path(sys.executable).with_name(program))
        command = [python, *arguments, "--host", "127.0.0.1", "--port", str(self.port), "--enforce-eager"]
        with log.open("wb") as stream:
            self.process = subprocess.Popen(command, stdout=stream, stderr=stream, start_new_session=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def wait(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/models").close()
            except (urllib.error.URLError, ConnectionError):
                assert self.process.poll() is None and time.monotonic() < deadline
                time.sleep(0.5)
            else:
                return

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    folder = tmp_path_factory.mktemp("servers")
    both = [Server(folder / f"{k}.log") for k in range(2)]
    try:
        for server in both:
            server.wait(600)
        yield both
    finally:
        for server in both:
            server.kill()


def test_a_run_survives_a_signal_and_the_death_of_a_server(servers: list[Server], tmp_path: Path) -> None:
    one, two = servers
    run = tmp_path / "run"
    command = ["generate", "--model", "demo", "--output-dir", str(run), "--num-instructions", "40", "--window", "8"]
    command += ["--endpoint", one.url, "--endpoint", two.url]
    interrupted(*command, journal=run / "journal.jsonl", patience=120)
    begun = journal_lines(run)
    two.kill()
    ended = selfinstruct(*command)
    assert ended.returncode == 0, ended.stderr
    assert f"{two.url}: cannot be reached" in " ".join(ended.stderr.split())
    lines = journal_lines(run)
    assert lines[: len(begun)] == begun and lines[0]["resolved"]["context_length"] == 2048
    numbers = [line["n"] for line in lines if line["kind"] == "proposal"]
    assert numbers == list(range(len(numbers)))
    for kind in ("classification", "instances"):
        asked = [line["id"] for line in lines if line["kind"] == kind and "failed" not in line]
        assert len(asked) == len(set(asked))
    state = RunDirectory(run).state()
    assert state.complete and len(state.pool) == 40


def test_a_whole_chain_goes_on_when_its_only_server_dies_and_comes_back(tmp_path: Path) -> None:
    run, config, port = tmp_path / "run", tmp_path / "config.yaml", free_port()
    config.write_text(yaml.safe_dump(CONFIG | {"output_dir": str(run), "num_instructions": 16}))
    server = Server(tmp_path / "first.log", port)
    try:
        server.wait(600)
        with (tmp_path / "said").open("wb") as said:
            command = [sys.executable, "-m", "selfinstruct", "run", str(config), "--endpoint", server.url]
            chain = subprocess.Popen(command, stdout=said, stderr=said)
        while not (journal := run / "journal.jsonl").exists() or journal.read_bytes().count(b"\n") < 3:
            assert chain.poll() is None, (tmp_path / "said").read_text()
            time.sleep(0.05)
        server.kill()
        server = Server(tmp_path / "second.log", port)
        assert chain.wait(1500) == 0, (tmp_path / "said").read_text()
    finally:
        server.kill()
    assert f"{server.url}: answers again" in (tmp_path / "said").read_text()
    state = RunDirectory(run).state()
    assert state.complete and len(state.pool) == 16
    counts = json.loads(selfinstruct("status", str(run), "--json").stdout)["candidates"]
    assert counts["total"] == counts["accepted"] + sum(counts["reasons"].values())
    assert {"base", "tuned"} <= json.loads((run / "evaluation/scores.json").read_text())["arms"].keys()
    assert (run / "report.html").exists()


def test_an_endpoint_that_is_none_ends_before_the_run(servers: list[Server], tmp_path: Path) -> None:
    run = tmp_path / "run"
    for options, said in (
        (["--model", "demo", "--endpoint", "http://127.0.0.1:9/v1"], "cannot be reached"),
        (["--model", "other", "--endpoint", servers[0].url], "name a model of it with --model"),
    ):
        ended = selfinstruct("generate", "--output-dir", str(run), *options)
        assert ended.returncode == 2 and said in ended.stderr and "Traceback" not in ended.stderr
    assert not run.exists()
