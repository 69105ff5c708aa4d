"""`selfinstruct init` writes a file that loads, in which every option stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from selfinstruct.config.load import load_config
from selfinstruct.config.schema import Config
from selfinstruct.config.template import starter_yaml


def uncommented(text: str) -> str:
    return re.sub(r"^( *)# (?=[a-z_]+:(?: |$))", r"\1", text, flags=re.M)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "night.yaml"


def test_it_loads_as_it_is(path: Path) -> None:
    path.write_text(starter_yaml(None, "night"))
    config = load_config(path, {})
    assert config == Config(model=config.model, output_dir="runs/night", num_instructions=1000)
    assert config.model != Config().model
    path.write_text(starter_yaml("./model: 'odd' #name", "night"))
    assert load_config(path, {}).model == "./model: 'odd' #name"


def test_with_every_comment_mark_removed_it_holds_the_defaults(path: Path) -> None:
    path.write_text(uncommented(starter_yaml("demo", "night")))
    config = load_config(path, {})
    assert config.engine
    assert config.tune.arguments
    rest = config.model_copy(update={"engine": {}, "tune": Config().tune})
    assert rest == Config(model="demo", output_dir="runs/night", num_instructions=1000)


def test_every_option_stands_there_with_its_description() -> None:
    text = " ".join(starter_yaml(None, "night").replace("#", " ").split())
    for name, info in Config.model_fields.items():
        section = info.annotation
        assert f"{name}:" in text
        if isinstance(section, type) and issubclass(section, BaseModel):
            for inner, detail in section.model_fields.items():
                assert f"{inner}:" in text
                assert " ".join(str(detail.description).split()) in text
