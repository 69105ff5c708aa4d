"""Reaching the Hub: what is fetched, and one line with the remedy for every way in which it fails."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.engines import hub
from selfinstruct.engines.model_facts import model_facts
from selfinstruct.errors import ConfigError
from tests import fake_hub, tiny_model
from tests.fake_hub import FakeHub

pytestmark = pytest.mark.whole

MODEL = "owner/model"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, with the files beside it that nobody needs."""
    folder = tiny_model.save(tmp_path_factory.mktemp("published"))
    for name in ("consolidated.safetensors", "pytorch_model.bin", "picture.png"):
        (folder / name).write_bytes(b"0" * 1000)
    return folder


@pytest.fixture
def published(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    shown = FakeHub({MODEL: folder})
    with fake_hub.serving(shown) as address:
        fake_hub.use(monkeypatch, address, tmp_path / "cache")
        yield shown


def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_hub.use(monkeypatch, "http://127.0.0.1:9", tmp_path / "cache")


def test_facts_fetch_no_weights(published: FakeHub, folder: Path) -> None:
    facts = model_facts(MODEL)
    assert facts.weight_bytes == (folder / "model.safetensors").stat().st_size
    assert facts.parameters and facts.layers == 2 and facts.name == MODEL
    assert "config.json" in published.downloads() and "model.safetensors" not in published.downloads()


def test_a_model_is_fetched_whole_and_once(
    published: FakeHub,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    there = Path(hub.whole_model(MODEL))
    assert (there / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert (there / "tokenizer.json").exists()
    assert not {"consolidated.safetensors", "pytorch_model.bin", "picture.png"} & set(published.downloads())
    shown = capsys.readouterr().err
    assert f"fetching {MODEL}: " in shown and "KiB from the Hub" in shown
    assert Path(hub.whole_model(MODEL)) == there and capsys.readouterr().err == ""
    no_hub(monkeypatch, tmp_path)
    assert Path(hub.whole_model(MODEL)) == there, "it is whole, so nobody need be asked"
    assert model_facts(MODEL).layers == 2


def test_half_a_model_is_not_enough(published: FakeHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub.small_files(MODEL)
    no_hub(monkeypatch, tmp_path)
    for ask in (hub.whole_model, model_facts):
        with pytest.raises(ConfigError, match="only partly on this machine, and the Hub cannot be reached"):
            ask(MODEL)


def test_half_of_several_weight_files_is_not_enough(tmp_path: Path, folder: Path) -> None:
    half = shutil.copytree(folder, tmp_path / "half")
    (half / "model.safetensors").rename(half / "model-00001-of-00002.safetensors")
    shards = '{"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}'
    (half / "model.safetensors.index.json").write_text(f'{{"weight_map": {shards}}}')
    assert hub.weights_here(half) == {}
    (half / "model-00002-of-00002.safetensors").write_bytes(b"12")
    assert sorted(hub.weights_here(half)) == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((404, "RepoNotFound", ""), "neither a folder here nor a model on the Hub .* set HF_TOKEN"),
        ((401, "", "Invalid username or password."), "the Hub refuses access.*set HF_TOKEN"),
        ((401, "", "Invalid credentials in Authorization header"), "the Hub refuses access.*set HF_TOKEN"),
        ((403, "GatedRepo", "Access is restricted"), "is gated: accept its terms"),
        ((403, "", "Forbidden"), "the Hub refuses access"),
        ((503, "", "down"), "the Hub answers with an error: .*503.* try again later"),
    ],
)
def test_what_the_hub_refuses(published: FakeHub, answer: tuple[int, str, str], expected: str) -> None:
    published.refused[MODEL] = answer
    for ask in (model_facts, hub.small_files, hub.whole_model):
        with pytest.raises(ConfigError, match=f"^model '{MODEL}'.*{expected}") as caught:
            ask(MODEL)
        assert "\n" not in str(caught.value)


def test_a_revision_that_does_not_exist(published: FakeHub) -> None:
    with pytest.raises(ConfigError, match="has no revision 'v9' on the Hub; correct --revision"):
        model_facts(MODEL, "v9")
    assert model_facts(MODEL, fake_hub.SHA).revision == fake_hub.SHA


def test_names_that_the_hub_cannot_have() -> None:
    with pytest.raises(ConfigError, match="give a folder, or OWNER/NAME on the Hub"):
        model_facts("owner--x..y/model")


@pytest.mark.parametrize("address", ["http://127.0.0.1:9", "http://nowhere.invalid"])
def test_a_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str) -> None:
    fake_hub.use(monkeypatch, address, tmp_path)
    with pytest.raises(
        ConfigError, match=r"is not on this machine, and the Hub cannot be reached: .*local copy"
    ) as caught:
        hub.whole_model(MODEL)
    assert "\n" not in str(caught.value)


def test_a_hub_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        fake_hub.use(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path)
        monkeypatch.setattr(hub, "_HUB_TIMEOUT_S", 0.2)
        with pytest.raises(ConfigError, match=r"the Hub cannot be reached: .*timed out"):
            model_facts(MODEL)


def test_offline_means_that_nobody_is_asked(published: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="not on this machine, and HF_HUB_OFFLINE forbids fetching it: unset"):
        hub.whole_model(MODEL)
    assert published.requests == []


def test_a_disk_without_room(published: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "free_disk", lambda _: 10)
    with pytest.raises(ConfigError, match=r"10 bytes are free .* set HF_HOME"):
        hub.whole_model(MODEL)
    assert published.downloads() == []


def test_an_error_that_is_no_fault_of_the_hub_stays_one() -> None:
    with pytest.raises(AssertionError), hub.reaching(MODEL):
        raise AssertionError


def test_modelscope_is_left_to_vllm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    no_hub(monkeypatch, tmp_path)
    monkeypatch.setenv("VLLM_USE_MODELSCOPE", "True")
    assert hub.whole_model(MODEL) == MODEL and model_facts(MODEL).weight_bytes == 0


@pytest.mark.parametrize(
    ("files", "loaded"),
    [
        (["model.safetensors", "consolidated.safetensors"], ["model.safetensors"]),
        (["model.safetensors", "adapter_model.safetensors"], ["model.safetensors"]),
        (["model-00001-of-00002.safetensors", "original/model.safetensors"], ["model-00001-of-00002.safetensors"]),
        (["model.safetensors", "pytorch_model.bin"], ["model.safetensors"]),
        (["pytorch_model.bin", "training_args.bin"], []),
        (["consolidated.safetensors"], ["consolidated.safetensors"]),
    ],
)
def test_weights_that_a_repository_holds_twice_count_once(files: list[str], loaded: list[Any]) -> None:
    assert hub.weight_files(files) == loaded


@pytest.mark.parametrize("files", [["pytorch_model.bin", "training_args.bin"], ["model.pt"]])
def test_weights_that_are_pickles_alone_are_refused(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command reads the small files of its model, or the whole of it, first."""
    no_hub(monkeypatch, tmp_path)
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", *files):
        (folder / name).write_text("{}")
    for read in (hub.small_files, hub.whole_model):
        with pytest.raises(ConfigError, match=rf"a pickle \({files[0]}\).* which writes safetensors"):
            read(str(folder))
    (folder / "model.safetensors").write_text("")
    assert hub.small_files(str(folder)) == folder
    (folder / "model.safetensors").unlink()
    (folder / files[0]).unlink()
    assert hub.whole_model(str(folder)) == str(folder)  # What a checkpoint keeps beside its weights is none.
