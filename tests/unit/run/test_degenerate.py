"""Completions that repeat themselves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.run.degenerate import loops

PARAGRAPH = (
    "I'm happy to help, but I'm not here to decide. I'm here to help, and I'm happy to give any advice you need.\n\n"
)


@pytest.mark.parametrize(
    "text", ["no, ", "It is a masterpiece. It's a film. ", PARAGRAPH, PARAGRAPH + "So ask again. " * 9]
)
def test_a_text_again_and_again_is_a_loop_wherever_it_is_cut(text: str) -> None:
    repeated = "A beginning. " + text * (3 + 640 // len(text))
    assert all(loops(repeated[: len(repeated) - cut]) for cut in range(1, 40, 7))


def test_two_copies_or_few_characters_are_none() -> None:
    assert not loops("Here is what I think of it. " + PARAGRAPH * 2)
    assert not loops("no, " * 79)
    assert loops("no, " * 80)


def test_rows_that_differ_are_no_loop() -> None:
    assert not loops("".join(f"{n} times 7 is {7 * n}.\n" for n in range(1, 60)))


def by_definition(text: str) -> bool:
    """Look at every period."""
    tails = ((period, text[-max(320, 3 * period) :]) for period in range(1, 401))
    return any(len(tail) >= max(320, 3 * period) and tail[period:] == tail[:-period] for period, tail in tails)


@given(
    st.text("ab", max_size=9), st.text("ab", min_size=1, max_size=400), st.integers(0, 400), st.text("ab", max_size=2)
)
def test_it_is_what_its_definition_says(before: str, text: str, copies: int, after: str) -> None:
    answer = (before + text * copies)[:1600] + after
    assert loops(answer) == by_definition(answer)
