"""`init` names the recipe that suits a model, from its small files alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfinstruct.checks.recipe_choice import recipe_for
from selfinstruct.config.load import load_config
from selfinstruct.engines import hub
from selfinstruct.errors import ConfigError
from tests.gpu_box import model_folder
from tests.gpu_box.families import FAMILIES
from tests.unit.cli.test_cli import invoke


@pytest.mark.parametrize(
    ("family", "recipe"),
    [("qwen3-base", "base"), ("qwen3", "aligned"), ("llama3-base", "base"), ("gpt-oss", "aligned")],
)
def test_a_model_that_has_learnt_its_template_is_aligned(family: str, recipe: str, tmp_path: Path) -> None:
    folder = model_folder.full(FAMILIES[family], tmp_path)
    for weights in folder.glob("*.safetensors"):
        weights.unlink()
    assert recipe_for(str(folder)) == (recipe, "")


def test_where_the_files_cannot_be_had_it_is_left_to_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreached(name: str, *_: object) -> Path:
        raise ConfigError(f"model {name!r} cannot be reached")

    monkeypatch.setattr(hub, "small_files", unreached)
    monkeypatch.setattr("selfinstruct.checks.model_fit.small_files", unreached)
    assert recipe_for("owner/name") == (None, "model 'owner/name' cannot be reached")
    path = tmp_path / "night.yaml"
    result = invoke("init", path, "--model", "owner/name")
    assert result.exit_code == 0 and "note: the recipe is left to you (base, aligned): model" in result.stderr
    assert load_config(path, {}).recipe is None


def test_init_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "night.yaml"
    assert invoke("init", path, "--model", "demo").exit_code == 0
    assert load_config(path, {}).recipe == "base"
    assert "fsync_interval" not in path.read_text()
    assert invoke("init", tmp_path / "all.yaml", "--model", "demo", "--full").exit_code == 0
    assert "# fsync_interval" in (tmp_path / "all.yaml").read_text()
    assert invoke("init", tmp_path / "plain.yaml").exit_code == 0
    assert load_config(tmp_path / "plain.yaml", {}).recipe == "base"
