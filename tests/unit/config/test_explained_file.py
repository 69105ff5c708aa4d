"""`selfinstruct init` writes a file that loads, in which the options that matter stand, or every one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from selfinstruct.config.explained_file import STARTER_MODEL, THAT_MATTER, starter_yaml
from selfinstruct.config.load import load_config
from selfinstruct.config.schema import Config, Recipe

RECIPES = (None, *get_args(Recipe))


def uncommented(text: str) -> str:
    return re.sub(r"^( *)# (?=[a-z_]+:(?: |$))", r"\1", text, flags=re.M)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "night.yaml"


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("recipe", RECIPES)
def test_it_loads_as_it_is(path: Path, recipe: Recipe | None, every: bool) -> None:
    path.write_text(starter_yaml(STARTER_MODEL, "night", recipe, every=every))
    chosen = {"model": STARTER_MODEL, "output_dir": "runs/night", "num_instructions": 1000, "recipe": recipe}
    assert load_config(path, {}) == load_config(None, chosen)


def test_any_name_of_a_model_is_quoted(path: Path) -> None:
    path.write_text(starter_yaml("./model: 'odd' #name", "night"))
    assert load_config(path, {}).model == "./model: 'odd' #name"


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("recipe", RECIPES)
def test_with_every_comment_mark_removed_it_holds_the_same_values(
    path: Path, recipe: Recipe | None, every: bool
) -> None:
    path.write_text(uncommented(starter_yaml("demo", "night", recipe, every=every)))
    config = load_config(path, {})
    assert config.engine
    assert config.tune.arguments
    rest = config.model_copy(update={"engine": {}, "tune": Config().tune})
    chosen = {"model": "demo", "output_dir": "runs/night", "num_instructions": 1000, "recipe": recipe}
    assert rest == load_config(None, chosen)


def test_every_option_stands_there_with_its_description() -> None:
    text = " ".join(starter_yaml("demo", "night", every=True).replace("#", " ").split())
    for name, info in Config.model_fields.items():
        section = info.annotation
        assert f"{name}:" in text
        if isinstance(section, type) and issubclass(section, BaseModel):
            for inner, detail in section.model_fields.items():
                assert f"{inner}:" in text
                assert " ".join(str(detail.description).split()) in text


def test_without_all_it_is_short_and_has_what_matters() -> None:
    text = starter_yaml("demo", "night", "base")
    for name in THAT_MATTER:
        assert re.search(rf"^ *(?:# )?{name.rpartition('.')[2]}:", text, re.M), name
    assert len(THAT_MATTER) <= 24 and len(text.splitlines()) < 90
    assert "fsync_interval" not in text
