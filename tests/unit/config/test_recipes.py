"""A recipe's options are below the user's own and above the defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from selfinstruct.config import load
from selfinstruct.config.earlier_defaults import EARLIER_DEFAULTS
from selfinstruct.config.load import dump_yaml, load_config, recipe_values
from selfinstruct.config.schema import Config, Recipe
from selfinstruct.errors import ConfigError

FOLDER = Path(load.__file__).parent / "recipes"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "night.yaml"


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipes made for these tests."""
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "base.yaml").write_text("prompting: completion\nproposal: {top_p: 0.25, num_new: 3}\n")
    (folder / "aligned.yaml").write_text("prompting: chat\n")
    monkeypatch.setattr(load, "RECIPES", folder)


def test_each_name_has_a_file_that_loads() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(get_args(Recipe))
    for name in get_args(Recipe):
        assert Config.model_validate(recipe_values(name)).recipe is None, "a recipe names no other"


@pytest.mark.usefixtures("two")
def test_it_is_below_what_the_user_gives(file: Path) -> None:
    file.write_text("recipe: base\nproposal: {top_p: 0.9}\nfilters:\n")
    config = load_config(file, {"proposal.max_tokens": 77}, {"proposal.num_new": 5})
    assert config.prompting == "completion" and config.recipe == "base"
    assert (config.proposal.top_p, config.proposal.num_new, config.proposal.max_tokens) == (0.9, 5, 77)
    assert load_config(file, {}).proposal.num_new == 3
    assert load_config(file, {"prompting": "chat"}).prompting == "chat"


@pytest.mark.usefixtures("two")
def test_the_command_line_names_another_one(file: Path) -> None:
    file.write_text("recipe: base\n")
    config = load_config(file, {"recipe": "aligned"})
    assert config.prompting == "chat" and config.proposal == Config().proposal


@pytest.mark.usefixtures("two")
def test_a_mapping_that_is_one_option_is_taken_as_a_whole(file: Path) -> None:
    (load.RECIPES / "base.yaml").write_text("engine: {dtype: float32, max_model_len: 512}\n")
    assert load_config(None, {"recipe": "base"}).engine == {"dtype": "float32", "max_model_len": 512}
    assert load_config(None, {"recipe": "base", "engine.dtype": "auto"}).engine == {"dtype": "auto"}


@pytest.mark.parametrize("name", ["bass", 3, [], {"base": 1}])
def test_an_unknown_one_is_an_error_that_lists_them(file: Path, name: Any) -> None:
    file.write_text(f"model: m\nrecipe: {name}\n")
    with pytest.raises(ConfigError, match=r"line 2: `recipe`: .*'paper', 'base' or 'aligned', got") as error:
        load_config(file, {})
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("two")
def test_a_run_keeps_it_with_its_values(file: Path) -> None:
    config = load_config(None, {"recipe": "base"})
    file.write_text(dump_yaml(config))
    (load.RECIPES / "base.yaml").write_text("proposal: {top_p: 0.5}\n")
    assert load_config(file, {}) == config, "the run's values, not those of a recipe that has changed since"
    assert config.identity()["recipe"] == "base"


@pytest.mark.usefixtures("two")
def test_a_section_that_is_none_is_named(file: Path) -> None:
    file.write_text("recipe: base\nproposal: 3\n")
    with pytest.raises(ConfigError, match="`proposal`"):
        load_config(file, {})


def test_paper_is_the_method_of_2022() -> None:
    """The figures of the paper and of its code; where these are defaults, they stand in the recipe all the same."""
    config = load_config(None, {"recipe": "paper"})
    proposal, instances = config.proposal, config.instances
    assert config.prompting == "completion"
    assert (proposal.num_seed_examples, proposal.num_generated_examples, proposal.num_new) == (6, 2, 8)
    assert (proposal.temperature, proposal.top_p, proposal.presence_penalty, proposal.max_tokens) == (0.7, 0.5, 2, 1024)
    assert (instances.temperature, instances.presence_penalty, instances.max_tokens) == (0, 1.5, 350)
    assert (config.classification.temperature, config.classification.num_examples) == (0, 31)
    assert (config.filters.threshold, config.filters.min_words, config.filters.max_words) == (0.7, 4, 150)
    assert config.filters.max_instances == 5 and config.export.include_seeds
    keywords = "image images graph graphs picture pictures file files map maps draw plot".split()
    assert config.filters.keywords == (*keywords, "go to") and config.filters.openings == ("Write a program",)


def test_paper_has_nothing_that_is_younger_than_the_method() -> None:
    """An option that a later version brings is off in it, unless it changes nothing of the method."""
    identity = load_config(None, {"recipe": "paper"}).identity()
    changes_nothing = {"recipe", "window", "window_soon", "window_share", "filters.tokenizer"}
    for name, earlier in EARLIER_DEFAULTS.items():
        *sections, option = name.split(".")
        if sections and not identity["proposers"].get(sections[0], 1.0):
            continue  # It is an option of a proposer that the recipe does not use.
        if sections == ["answer"] and identity["answering"] == "inline":
            continue  # No answer is asked for.
        value: Any = identity
        for part in (*sections, option):
            value = value[part]
        assert value == earlier or name in changes_nothing, f"{name}: add it to recipes/paper.yaml"
