"""Help that fits: the common options under headings, every one with `--help-all`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from selfinstruct.cli import cli, stage_commands
from selfinstruct.cli.help import fitted
from selfinstruct.config.click_options import ConfigOption
from selfinstruct.console import console, how_much
from selfinstruct.errors import ConfigError
from tests.conftest import run_scripted


def shown(*arguments: str) -> str:
    result = CliRunner().invoke(cli, [*arguments], terminal_width=110)
    assert result.exit_code == 0
    return result.stdout


@pytest.mark.parametrize("command", ["generate", "run", "preview"])
def test_help_shows_the_common_options_first_and_says_how_to_see_the_others(command: str) -> None:
    short, full = shown(command, "--help"), shown(command, "--help-all")
    assert len(short.splitlines()) < 130
    for option in ("--model", "--seeds", "--num-instructions", "--threshold", "--finish-by"):
        assert option in short, option
    assert "--filters.max-words" not in short
    options = [one for one in cli.commands[command].params if isinstance(one, ConfigOption)]

    def listed(one: ConfigOption, text: str) -> bool:
        return bool(re.search(rf"^  (?:-s, )?{re.escape(one.opts[0])}(?![\w.-])", text.split("\nOptions:")[1], re.M))

    missing = [one.opts[0] for one in options if not listed(one, full)]
    assert not missing
    more = int(re.search(r"(\d+) more options: `.* --help-all`", short)[1])
    assert more + sum(listed(one, short) for one in options) == len(options)


def test_options_stand_under_the_heading_of_their_section() -> None:
    full = shown("generate", "--help-all")
    headings = re.findall(r"^(\w+): [A-Z]", full, re.M)
    assert {"proposal", "filters", "limits"} <= set(headings)
    section = full.split("\nfilters: ")[1].split("\n\n")[0]
    assert "--filters.max-words" in section and "--limits" not in section


def test_a_command_with_few_options_shows_them_all() -> None:
    assert "--help-all" not in shown("export", "--help")
    assert "--validation-unseen" in shown("export", "--help")


def test_a_section_begins_with_what_only_it_has() -> None:
    text = shown("regenerate", "--help").split("\nregenerate: Rewriting the outputs")[1]
    assert text.index("--model TEXT") < text.index("--temperature X") < text.index("--sampling-seed")
    assert "(--regenerate.NAME)" not in text, "its options have bare names here"
    assert "(--single-step.NAME)" in shown("generate", "--help-all")


def every_command(group: click.Group = cli, *names: str) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield (*names, name)
            yield from every_command(command, *names, name)
        else:
            yield (*names, name)


@pytest.mark.parametrize("words", [(), *every_command()], ids=" ".join)
def test_every_command_can_be_quiet_or_verbose(words: tuple[str, ...]) -> None:
    text = shown(*words, "--help")
    assert "-q, --quiet" in text and "-v, --verbose" in text


@pytest.mark.parametrize("words", list(every_command()), ids=" ".join)
def test_every_command_has_an_example_and_a_purpose(words: tuple[str, ...]) -> None:
    text = shown(*words, "--help")
    purpose = text.split("\n")[2].strip()
    assert purpose[0].isupper() and purpose.endswith(".")
    assert f"selfinstruct {' '.join(words)}" in text.split("Example:")[1]


@pytest.mark.parametrize("words", [(), *every_command()], ids=" ".join)
@pytest.mark.parametrize("width", [40, 80, 200])
def test_help_fits_the_terminal(words: tuple[str, ...], width: int) -> None:
    """Nothing is wider but, in a very narrow one, the name of an option with its values, and a long word."""
    text = CliRunner().invoke(cli, [*words, "--help"], terminal_width=width).stdout
    wide = [line.strip() for line in text.splitlines() if len(line) > width]
    assert not [line for line in wide if width > 40 or not (line.startswith("--") or " " not in line.rstrip(" \\"))]


@pytest.mark.parametrize("words", list(every_command()), ids=" ".join)
def test_every_command_knows_help_all_and_lines_break_at_spaces_alone(words: tuple[str, ...]) -> None:
    if isinstance(cli.commands[words[0]], click.Group) and len(words) == 1:
        return
    for width in (60, 80):
        result = CliRunner().invoke(cli, [*words, "--help-all"], terminal_width=width)
        assert result.exit_code == 0, result.output
        broken = [line for line in result.stdout.splitlines() if re.search(r"\w-$", line)]
        assert not broken and "\u2011" not in result.stdout


def test_examples_that_are_too_wide_go_on_in_the_next_line() -> None:
    line = '    selfinstruct chat runs/first --prompt "Name three rivers of Africa." --json'
    broken = fitted(line, 50)
    assert all(len(part) <= 50 for part in broken.splitlines()) and '"Name three rivers of Africa."' in broken
    assert shlex.split(broken.replace("\\\n", " ")) == shlex.split(line)
    assert fitted(line, 200) == line


@pytest.mark.parametrize("words", [["-q"], ["--quiet"], []])
def test_quiet_leaves_the_result_and_ends_with_the_command(words: list[str], make_config: Any, tmp_path: Path) -> None:
    run_scripted(make_config(num_instructions=6))
    for call in ([*words, "export", str(tmp_path / "run")], ["export", str(tmp_path / "run"), *words]):
        said = CliRunner().invoke(cli, call).stderr
        assert "the dataset is written" in said and "next: selfinstruct tune" in said
        assert ("torchtune:" in said) is (not words)
    assert how_much() == "" and not console.quiet


def test_short_options_of_vllm_are_passed_on_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[tuple[str, ...]] = []

    def vllm_arguments(arguments: tuple[str, ...]) -> None:
        passed.append((*arguments, how_much()))
        raise ConfigError("enough")

    monkeypatch.setattr(stage_commands, "vllm_arguments", vllm_arguments)
    for words in (["-cc.level=3"], ["-q", "-tp", "2"], ["--verbose", "-dcp", "1"]):
        CliRunner().invoke(cli, ["generate", *words])
    assert passed == [("-cc.level=3", ""), ("-tp", "2", "quiet"), ("-dcp", "1", "verbose")]
