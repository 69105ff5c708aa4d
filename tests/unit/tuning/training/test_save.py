"""A tuned model takes the place of an earlier one as a whole, or not at all."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tuning.training import save
from tuning.training.prepare import BaseModel

OLD = {
    "config.json": "old",
    "model-00001-of-00002.safetensors": "old",
    "model.safetensors.index.json": "old",
    "adapter/adapter_config.json": "old",
    "training.json": "kept",
    "checkpoints/checkpoint-3/model.safetensors": "kept",
}


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_a_new_model_replaces_an_earlier_one_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, OLD)
    new = {"config.json": "new", "model.safetensors": "new", "adapter/adapter_model.safetensors": "new"}
    write(tmp_path / ".new", new)
    save.put_in_place(tmp_path / ".new", tmp_path)
    assert content(tmp_path) == new | {name: text for name, text in OLD.items() if text == "kept"}


def test_a_model_that_is_half_in_place_loads_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, OLD)
    write(tmp_path / ".new", {"config.json": "new", "a.safetensors": "new", "z.safetensors": "new"})
    move = Path.replace

    def dies(path: Path, target: Path) -> Path:
        if path.name == "z.safetensors":
            raise KeyboardInterrupt
        return move(path, target)

    monkeypatch.setattr(Path, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        save.put_in_place(tmp_path / ".new", tmp_path)
    assert not (tmp_path / "config.json").exists()


def test_a_save_that_fails_leaves_the_earlier_model_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(trainer: Any, tokenizer: Any, folder: Path, **_: Any) -> None:
        write(folder, {"config.json": "new", "model.safetensors": "half"})
        raise OSError(28, "No space left on device")

    write(tmp_path, OLD)
    monkeypatch.setattr(save, "_write", fails)
    trainer: Any = SimpleNamespace(
        is_world_process_zero=lambda: True, accelerator=SimpleNamespace(wait_for_everyone=lambda: None)
    )
    with pytest.raises(OSError, match="No space"):
        save.save(trainer, None, tmp_path, base=BaseModel("base", {}), merge="both")
    assert content(tmp_path) == OLD
