"""From the command line and the environment to a configuration."""

from __future__ import annotations

import os
import typing
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from selfinstruct.config.click_options import (
    CONVENTIONAL_NAMES,
    config_options,
    resolve_config,
    split_passed_on,
    tune_arguments,
)
from selfinstruct.config.schema import Config
from selfinstruct.config.section import Section
from selfinstruct.engines.vllm_plugin import watch_children
from selfinstruct.environment import PARENT, variable_of
from selfinstruct.errors import ConfigError


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SELFINSTRUCT_")]:
        monkeypatch.delenv(name)


def parse(*arguments: str, sections: tuple[str, ...] = ("", "proposal", "filters")) -> Config:
    seen: list[Config] = []

    @click.command()
    @config_options(*sections)
    def command(**given: Any) -> None:
        seen.append(resolve_config(None, given))

    result = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return seen[0]


def test_nothing_given_is_the_default() -> None:
    assert parse() == Config()


def test_every_option_has_a_flag_that_sets_it() -> None:
    def flags(section: type[Section], prefix: str = "") -> list[str]:
        return [f"--{prefix}{name}".replace("_", "-") for name in section.model_fields]

    @click.command()
    @config_options("filters")
    def command(**_: Any) -> None: ...

    found = {option for p in command.params for option in p.opts}
    assert set(flags(typing.cast(type[Section], Config.model_fields["filters"].annotation), "filters.")) <= found


def test_full_names_short_names_and_repetition() -> None:
    config = parse(
        "--proposal.temperature", "0.5", "--threshold", "0.6", "-s", "a", "--seeds", "b", "--max-tokens", "9"
    )
    assert (config.proposal.temperature, config.filters.threshold) == (0.5, 0.6)
    assert config.seeds == ("a", "b")
    assert config.proposal.max_tokens == 9
    assert parse("--filters.keywords", "go to", "--filters.keywords", "draw").filters.keywords == ("go to", "draw")


def test_switches_have_a_negation() -> None:
    assert parse("--proposal.sampling-seed").proposal.sampling_seed
    assert not parse("--proposal.no-sampling-seed").proposal.sampling_seed


def test_options_of_a_commands_only_section_go_by_bare_names() -> None:
    assert parse("--include-seeds", sections=("export",)).export.include_seeds
    assert not parse("--export.include-seeds", "--no-include-seeds", sections=("export",)).export.include_seeds
    assert parse("--validation-seen", "0.3", sections=("export",)).export.validation_seen == 0.3


def test_negative_numbers_are_values() -> None:
    assert parse("--proposal.presence-penalty", "-1.5").proposal.presence_penalty == -1.5


def test_conventional_names_are_those_of_options() -> None:
    for full in CONVENTIONAL_NAMES.values():
        section, _, leaf = full.rpartition(".")
        owner = typing.cast(Any, Config.model_fields[section].annotation) if section else Config
        assert leaf in owner.model_fields


def test_order_command_line_environment_file_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("seed: 1\nwindow: 1\nmax_in_flight: 1\nfilters: {threshold: 0.1}\n")
    monkeypatch.setenv("SELFINSTRUCT_SEED", "2")
    monkeypatch.setenv("SELFINSTRUCT_WINDOW", "2")
    monkeypatch.setenv("SELFINSTRUCT_FILTERS__THRESHOLD", "0.2")
    monkeypatch.setenv("SELFINSTRUCT_SEEDS", os.pathsep.join(["a.jsonl", "b.jsonl"]))
    monkeypatch.setenv("SELFINSTRUCT_EXPORT__INCLUDE_SEEDS", "true")
    config = resolve_config(path, {"seed": 3, "window": None, "seeds": ()})
    assert (config.seed, config.window, config.max_in_flight, config.fsync_interval) == (3, 2, 1, 1.0)
    assert (config.filters.threshold, config.seeds, config.export.include_seeds) == (0.2, ("a.jsonl", "b.jsonl"), True)
    assert resolve_config(path, {"seed": 3}, {"seed": 4}).seed == 4


def test_a_misspelt_variable_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELFINSTRUCT_DEBUG", "0")
    monkeypatch.setenv("SELFINSTRUCT_ENGINE_PARENT", "1")  # Set by ourselves, before vLLM reads its arguments.
    resolve_config(None, {})
    monkeypatch.setenv("SELFINSTRUCT_NUM_INSTRUCTION", "5")
    with pytest.raises(ConfigError) as caught:
        resolve_config(None, {})
    assert str(caught.value) == (
        "environment variable SELFINSTRUCT_NUM_INSTRUCTION: unknown option; did you mean SELFINSTRUCT_NUM_INSTRUCTIONS?"
    )


def test_variable_names() -> None:
    assert variable_of("filters.min_words") == "SELFINSTRUCT_FILTERS__MIN_WORDS"


# ---------------------------------------------------------------------------------------- what others are given


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        ("--learning-rate 1e-4", {"learning_rate": 1e-4}),
        ("--learning_rate=2", {"learning_rate": 2}),
        ("--packing --use-peft", {"packing": True, "use_peft": True}),
        ("--packing False --bf16 true", {"packing": False, "bf16": True}),
        ("--max-steps -1 --x -1e-5", {"max_steps": -1, "x": -1e-5}),
        ("--save-strategy no --report-to none", {"save_strategy": "no", "report_to": "none"}),
        ("--run-name 2026-11-23", {"run_name": "2026-11-23"}),
        ("--lora-target-modules q_proj v_proj", {"lora_target_modules": ["q_proj", "v_proj"]}),
        ('--optim-args {"a":[1,2]} --broken [1,2', {"optim_args": {"a": [1, 2]}, "broken": "[1,2"}),
        ("--name=", {"name": ""}),
        ("--a 1 --a 2", {"a": 2}),
        ("", {}),
    ],
)
def test_tune_arguments(arguments: str, values: dict[str, Any]) -> None:
    assert tune_arguments(arguments.split()) == values


def test_tune_arguments_begin_with_an_option() -> None:
    with pytest.raises(ConfigError, match="unexpected argument 'more'; options look like --learning-rate"):
        tune_arguments(["more"])


def test_sections_are_sorted_out() -> None:
    words = "--engine.dtype float32 --tune.x -1 --tune.packing --engine.max-model-len=9".split()
    assert split_passed_on(words) == {
        "engine": ["--dtype", "float32", "--max-model-len=9"],
        "tune": ["--x", "-1", "--packing"],
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            "--dtype float32",
            "unknown option '--dtype'; vLLM's arguments are given as --engine.NAME, TRL's as --tune.NAME",
        ),
        ("--num-instruction 5", "unknown option '--num-instruction'; did you mean --num-instructions?"),
        ("--filter.x=1", "unknown option '--filter.x=1'; "),
        ("stray", "unexpected argument 'stray'"),
    ],
)
def test_what_belongs_to_nobody(arguments: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        split_passed_on(arguments.split(), ["--num-instructions", "--seed"])
    assert said in str(caught.value)


def test_variables_of_our_own_are_no_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading vLLM's arguments sets those of the engine; the stages inherit all."""
    monkeypatch.setenv("SELFINSTRUCT_DEBUG", "1")
    monkeypatch.setenv("SELFINSTRUCT_ENGINE_LAST_WORDS", "/tmp/x")
    watch_children()
    try:
        assert resolve_config(None, {}) == Config()
    finally:
        del os.environ[PARENT]
    monkeypatch.setenv("SELFINSTRUCT_ENGINE__DTYPE", "float32")
    with pytest.raises(ConfigError, match="SELFINSTRUCT_ENGINE__DTYPE: unknown option"):
        resolve_config(None, {})


def test_mix_may_be_given_several_times() -> None:
    words = ["--mix", "a.json:0.5", "b.json", "--learning-rate", "1", "--mix=c.json", "--learning-rate", "2"]
    assert tune_arguments(words) == {"mix": ["a.json:0.5", "b.json", "c.json"], "learning_rate": 2}
