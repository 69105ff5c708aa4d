"""Pushing to a Hub on this machine, through huggingface_hub: private, when asked to, continued after a break."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from selfinstruct.cli import cli
from selfinstruct.dataset.export import export
from selfinstruct.dataset.push import push, uploads
from selfinstruct.errors import ConfigError, InputError
from tests import finished_run
from tests.fake_hub_uploads import FakeHub, Repository, serving

pytestmark = pytest.mark.whole


@pytest.fixture
def run(make_config: Any) -> Path:
    config = make_config()
    folder = finished_run.generated(config)
    export(config)
    model = folder / "model"
    finished_run.tuned(folder)
    (model / "config.json").write_text("{}")
    (model / "README.md").write_text("# A model\n")
    for shard in (1, 2):
        (model / f"model-{shard}.safetensors").write_bytes(bytes([shard]) * 70_000)
    (model / "checkpoints").mkdir()
    (model / "checkpoints" / "optimizer.pt").write_bytes(b"x")
    (model / ".done").write_text("{}")
    return folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    from huggingface_hub import constants, hf_api

    hub = FakeHub()
    with serving(hub) as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        # Read once on import, unlike the endpoint.
        monkeypatch.setattr(constants, "HF_URL_HOSTS", frozenset({"127.0.0.1"}), raising=False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "is_offline_mode", lambda: False)
        monkeypatch.setattr(hf_api, "is_offline_mode", lambda: False, raising=False)
        monkeypatch.setenv("HF_TOKEN", "hf_of_the_test")
        yield hub


def send(run: Path, *, public: bool = False, **names: str | None) -> list[str]:
    planned = uploads(run, **({"dataset": None, "model": None} | names))
    return [push(upload, public=public) for upload in planned]


def test_both_are_private_and_without_what_stays_here(run: Path, hub: FakeHub) -> None:
    addresses = send(run, dataset="rivers", model="grace/rivers-8b")
    dataset, model = hub.repositories["datasets/ada/rivers"], hub.repositories["models/grace/rivers-8b"]
    assert dataset.private and model.private
    assert [address.partition("//")[2].partition("/")[2] for address in addresses] == [
        "datasets/ada/rivers",
        "grace/rivers-8b",
    ]
    folder = run / "dataset"
    assert dataset.files == {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    assert dataset.files["README.md"].startswith(b"---\n")
    assert model.files.keys() == {"config.json", "README.md", "model-1.safetensors", "model-2.safetensors"}
    assert hub.tokens == {"Bearer hf_of_the_test"}


def test_no_path_of_this_machine_is_sent(make_config: Any, hub: FakeHub, tmp_path: Path) -> None:
    generator = tmp_path / "mine" / "écrivain"
    generator.mkdir(parents=True)
    config = make_config(model=str(generator), export={"format": ["argilla"]}, answer={"system_prompt": "/no_think"})
    run = finished_run.generated(config)
    export(config)
    finished_run.tuned(run, model=str(generator))
    (run / "model" / "config.json").write_text("{}")
    adapter = json.dumps({"base_model_name_or_path": str(generator), "r": 8, "said": "/no_think"})
    (run / "model" / "adapter_config.json").write_text(adapter)
    send(run, dataset="rivers", model="rivers-8b")
    sent = {**hub.repositories["datasets/ada/rivers"].files, **hub.repositories["models/ada/rivers-8b"].files}
    assert not [name for name, data in sent.items() if str(tmp_path).encode() in data]
    assert "`écrivain`".encode() in sent["README.md"] and b'"agent":"\xc3\xa9crivain"' in sent["argilla.jsonl"]
    assert json.loads(sent["adapter_config.json"]) == {
        "base_model_name_or_path": "écrivain",
        "r": 8,
        "said": "/no_think",
    }
    assert (run / "model" / "adapter_config.json").read_text(encoding="utf-8") == adapter, "the run's own file stays"


def test_after_a_break_the_same_command_sends_only_the_rest(run: Path, hub: FakeHub) -> None:
    hub.breaks_after = 1
    with pytest.raises(ConfigError, match="was not pushed"):
        send(run, model="rivers")
    assert len(hub.received) == 1 and not hub.repositories["models/ada/rivers"].files
    hub.breaks_after = None
    send(run, model="rivers")
    assert sorted(hub.received) == sorted(set(hub.received)) and len(hub.received) == 2
    assert len(hub.repositories["models/ada/rivers"].files) == 4
    send(run, model="rivers")
    assert len(hub.received) == 2, "nothing is sent twice"


def test_a_public_repository_is_not_filled_by_mistake(run: Path, hub: FakeHub) -> None:
    hub.repositories["datasets/ada/open"] = Repository(private=False)
    with pytest.raises(ConfigError, match="ada/open is public: give --public"):
        send(run, dataset="open")
    assert not hub.repositories["datasets/ada/open"].files
    send(run, dataset="open", public=True)
    assert hub.repositories["datasets/ada/open"].files
    send(run, dataset="fresh", public=True)
    assert not hub.repositories["datasets/ada/fresh"].private


@pytest.mark.parametrize(("status", "remedy"), [(401, "set HF_TOKEN"), (403, "may write there"), (500, "again later")])
def test_what_the_hub_refuses_is_said_with_a_remedy(run: Path, hub: FakeHub, status: int, remedy: str) -> None:
    hub.refuses = (status, "not for you")
    with pytest.raises(ConfigError, match=f"the Hub answers {status}.*{remedy}"):
        send(run, dataset="rivers")


def test_a_hub_that_is_not_there(run: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="check the network"):
        send(run, dataset="rivers")


def test_what_is_not_there_or_not_named_is_refused(make_config: Any, tmp_path: Path) -> None:
    run = finished_run.generated(make_config())
    with pytest.raises(ConfigError, match="nothing to push"):
        uploads(run, dataset=None, model=None)
    with pytest.raises(InputError, match="no dataset yet"):
        uploads(run, dataset="rivers", model=None)
    with pytest.raises(InputError, match="no tuned model"):
        uploads(run, dataset=None, model="rivers")
    finished_run.tuned(run, state="running")
    with pytest.raises(InputError, match="has not ended"):
        uploads(run, dataset=None, model="rivers")


@pytest.mark.parametrize("name", ["", "a/b/c", "with space", "-x"])
def test_a_name_that_is_none(run: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="no name of a repository"):
        uploads(run, dataset=name, model=None)


def test_a_dry_run_asks_nobody(run: Path, hub: FakeHub) -> None:
    done = CliRunner().invoke(cli, ["push", str(run), "--dataset", "rivers", "--dry-run"])
    assert done.exit_code == 0 and "train.jsonl" in done.output
    shown = json.loads(CliRunner().invoke(cli, ["push", str(run), "--model", "m", "--dry-run", "--json"]).stdout)
    assert shown[0]["files"].keys() == {"config.json", "README.md", "model-1.safetensors", "model-2.safetensors"}
    assert not hub.repositories and not hub.tokens


def test_the_command_pushes_to_the_hub_that_hf_endpoint_names(run: Path, tmp_path: Path) -> None:
    hub = FakeHub()
    with serving(hub) as address:
        environment = os.environ | {"HF_ENDPOINT": address, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "hf_x"}
        environment |= {"HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "hf")}
        command = [sys.executable, "-m", "selfinstruct", "push", str(run), "--dataset", "ada/rivers", "--json"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["address"] == f"{address}/datasets/ada/rivers"
    assert b"instruction" in hub.repositories["datasets/ada/rivers"].files["train.jsonl"]
