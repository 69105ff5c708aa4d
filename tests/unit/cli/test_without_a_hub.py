"""A model that cannot be had from the Hub: a line with the remedy and exit code 2, from each command that names it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from selfinstruct.checks import tuning_preview
from selfinstruct.cli import cli
from selfinstruct.engines import hub
from selfinstruct.errors import ConfigError
from tests import fake_hub, finished_run, tiny_model
from tests.conftest import run_scripted
from tests.fake_hub import FakeHub

MODEL = "owner/model"
COMMANDS: dict[str, list[str]] = {
    "generate": ["generate", "--model", MODEL, "--output-dir", "new"],
    "generate, dry": ["generate", "--model", MODEL, "--output-dir", "new", "--dry-run"],
    "run": ["run", "night.yaml"],
    "run, dry": ["run", "night.yaml", "--dry-run"],
    "preview": ["preview", "night.yaml"],
    "iterate": ["iterate", "night.yaml", "--output-dir", "rounds"],
    "chat": ["chat", MODEL, "--against", "none", "--prompt", "Hello"],
    "rate": ["rate", "run", "--model", MODEL],
    "tag": ["tag", "run", "--model", MODEL],
    "regenerate": ["regenerate", "run", "--model", MODEL, "-o", "rewritten"],
}
REFUSALS = {
    "401": ((401, "", "Invalid username or password."), "refuses access"),
    "404": ((404, "RepoNotFound", ""), "neither a folder here nor a model on the Hub"),
    "gated": ((403, "GatedRepo", "Access is restricted"), "is gated: accept its terms"),
}
WAYS = {
    "no name": "the Hub cannot be reached",
    "refused": "the Hub cannot be reached",
    "silent": "the Hub cannot be reached",
    **{way: said for way, (_, said) in REFUSALS.items()},
    "offline": "HF_HUB_OFFLINE forbids fetching it: unset",
    "half": "only partly on this machine, and the Hub cannot be reached",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.save(tmp_path_factory.mktemp("published"))


@pytest.fixture
def out_of_reach(request: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """One of `WAYS`; yields what is said of it."""
    way, cache = request.param, tmp_path / "cache"
    with contextlib.ExitStack() as stack:
        address = {"no name": "http://nowhere.invalid"}.get(way, "http://127.0.0.1:9")
        if way in REFUSALS:
            address = stack.enter_context(fake_hub.serving(FakeHub({MODEL: folder}, {MODEL: REFUSALS[way][0]})))
        if way == "half":
            with fake_hub.serving(FakeHub({MODEL: folder})) as reached:
                fake_hub.use(monkeypatch, reached, cache)
                hub.small_files(MODEL)
        if way == "silent":
            silent = stack.enter_context(socket.socket())
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            address = f"http://127.0.0.1:{silent.getsockname()[1]}"
            monkeypatch.setattr(hub, "_HUB_TIMEOUT_S", 0.2)
        fake_hub.use(monkeypatch, address, cache)
        if way == "offline":
            monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: True)
            monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        yield WAYS[way]


# All commands ask for a model in one way, so that each in turn, and each way in turn, is enough for `make test`.
ALL = [
    pytest.param(command, way, marks=[] if command == "generate, dry" or way == "refused" else pytest.mark.long)
    for command in COMMANDS
    for way in WAYS
]


@pytest.mark.parametrize(("command", "out_of_reach"), ALL, indirect=["out_of_reach"])
def test_a_model_that_cannot_be_had(
    command: str, out_of_reach: str, make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_tuner(*_: Any) -> Any:
        raise ConfigError("the tuner was looked at")

    monkeypatch.setattr(tuning_preview, "started", no_tuner)
    run_scripted(make_config(num_instructions=5))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "night.yaml").write_text(json.dumps({"model": MODEL, "output_dir": "night"}))
    ended = CliRunner().invoke(cli, COMMANDS[command])
    assert ended.exit_code == 2, ended.output
    lines = [line for line in ended.stderr.splitlines() if out_of_reach in line]
    assert lines and all(f"model '{MODEL}'" in line for line in lines)
    assert "Traceback" not in ended.output and "defect" not in ended.output


@pytest.mark.parametrize("out_of_reach", WAYS, indirect=True)
def test_a_starter_configuration_is_written_all_the_same(
    out_of_reach: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`init` writes a file that may be for another machine: it says what it could not see."""
    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(cli, ["init", "night.yaml", "--model", MODEL])
    assert ended.exit_code == 0 and MODEL in (tmp_path / "night.yaml").read_text()
    # With half a model the files that tell the recipe are here, so that nothing is missing.
    assert (out_of_reach in ended.stderr) == ("only partly" not in out_of_reach), ended.stderr


# The tuner and the evaluation ask for a model in processes of their own.
STAGES = {"tune": ["tune", "--model", MODEL], "evaluate": ["evaluate", "--model", f"other={MODEL}"]}
IN_A_PROCESS = {
    "no name": {"HF_ENDPOINT": "http://nowhere.invalid"},
    "refused": {"HF_ENDPOINT": "http://127.0.0.1:9"},
    "offline": {"HF_HUB_OFFLINE": "1"},
}
STAGE_CASES = [
    pytest.param(stage, way, marks=[] if way == "refused" else pytest.mark.long) for stage in STAGES for way in WAYS
]


@pytest.fixture
def environment(request: Any, folder: Path, tmp_path: Path) -> Iterator[tuple[dict[str, str], str]]:
    """One of `WAYS` as a user has it; yields the variables that make it, and what is said of it."""
    way = request.param
    variables = IN_A_PROCESS.get(way, IN_A_PROCESS["refused"]) | {"HF_HOME": str(tmp_path / "home")}
    with contextlib.ExitStack() as stack:
        if way in REFUSALS:
            address = stack.enter_context(fake_hub.serving(FakeHub({MODEL: folder}, {MODEL: REFUSALS[way][0]})))
            variables["HF_ENDPOINT"] = address
        if way == "half":
            with fake_hub.serving(FakeHub({MODEL: folder})) as reached:
                fetch = f"from selfinstruct.engines import hub; hub.small_files({MODEL!r})"
                only = os.environ | variables | {"HF_ENDPOINT": reached, "HF_HUB_OFFLINE": "0"}
                subprocess.run([sys.executable, "-c", fetch], env=only, check=True, capture_output=True)
        if way == "silent":
            silent = stack.enter_context(socket.socket())
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            variables["HF_ENDPOINT"] = f"http://127.0.0.1:{silent.getsockname()[1]}"
        yield variables, WAYS[way]


@pytest.mark.whole
@pytest.mark.parametrize(("stage", "environment"), STAGE_CASES, indirect=["environment"])
def test_a_stage_of_its_own_that_cannot_have_its_model(
    stage: str, environment: tuple[dict[str, str], str], make_config: Any
) -> None:
    variables, said = environment
    run = str(finished_run.complete(make_config(num_instructions=30)))
    command, *options = STAGES[stage]
    ended = subprocess.run(
        [sys.executable, "-m", "selfinstruct", command, run, *options],
        env=os.environ | {"HF_HUB_OFFLINE": "0"} | variables,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2, ended.stderr
    lines = [line for line in ended.stderr.splitlines() if said in line]
    assert len(lines) == 1 and f"model '{MODEL}'" in lines[0], ended.stderr
    assert "Traceback" not in ended.stderr and "defect" not in ended.stderr
