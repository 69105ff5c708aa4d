"""What stands for no input, in the rows of a dataset."""

from __future__ import annotations

import pytest

from selfinstruct.no_input import stands_for_no_input, words


@pytest.mark.parametrize(
    "text",
    ["<noinput>", "<no input>", "(No Input)", "noinput", "No input.", "No input required", "N/A", "[none]", "无需输入"]
    + ["Keine Eingabe", "**no input**", "<empty>"]
    + ["Aucune entrée n'est nécessaire.", "Es ist keine Eingabe erforderlich.", "No se necesita ninguna entrada."],
)
def test_these_do(text: str) -> None:
    assert stands_for_no_input(text)


@pytest.mark.parametrize(
    "text", ["", "None", "empty", "keine", "无", "[1, 2]", "[]", "no input was lost", "No", "x" * 999]
)
def test_these_may_be_inputs(text: str) -> None:
    assert not stands_for_no_input(text)


def test_every_language_has_lower_case_words() -> None:
    assert all(word == word.casefold().strip() for of_language in words().values() for word in of_language)
