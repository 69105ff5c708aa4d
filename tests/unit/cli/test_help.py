"""Help that fits: the common options under headings, every one with `--help-all`."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from selfinstruct.cli import cli
from selfinstruct.config.click_options import ConfigOption


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
