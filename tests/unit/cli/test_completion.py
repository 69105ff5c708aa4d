"""Shell completion: commands, options and choices, by click's own scripts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.shell_completion import BashComplete

from selfinstruct.cli import cli

ROOT = Path(__file__).parents[3]


def completed(words: list[str], begun: str) -> list[str]:
    shell = BashComplete(cli, {}, "selfinstruct", "_SELFINSTRUCT_COMPLETE")
    return [item.value for item in shell.get_completions(words, begun)]


@pytest.mark.parametrize(
    ("words", "begun", "expected"),
    [
        ([], "exp", {"explain", "export"}),
        (["seeds"], "", {"check", "stats", "from-dataset"}),
        (["export", "runs/first"], "--pref", {"--preferences"}),
        (["generate", "--tensor-parallel-size", "2"], "--num-i", {"--num-instructions"}),
        (["export", "--select-by"], "far", {"farthest"}),
        (["convert", "in.json", "--to"], "a", {"alpaca"}),
    ],
)
def test_words_are_completed(words: list[str], begun: str, expected: set[str]) -> None:
    assert set(completed(words, begun)) == expected


def test_the_guide_names_the_variable_that_click_reads() -> None:
    (name,) = set(re.findall(r"_\w+_COMPLETE", (ROOT / "docs" / "guide" / "first-night.md").read_text()))
    assert name == "_SELFINSTRUCT_COMPLETE"
