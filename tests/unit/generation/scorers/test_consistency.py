"""Samples that say the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.generation.scorers.consistency import agreement, is_comparable, same
from selfinstruct.generation.scorers.interface import RatedAnswer
from selfinstruct.run.answer_scores import Place


def test_the_share_of_the_others_that_agree() -> None:
    assert agreement("Paris.", ("**paris**", "Paris", "Lyon")) == 0.6667
    assert agreement("3.5", ("3,5", "3.5")) == 0.5


@given(st.text(), st.lists(st.text(), min_size=1, max_size=5))
def test_a_share_lies_between_none_and_all(answer: str, others: list[str]) -> None:
    assert 0 <= agreement(answer, tuple(others)) <= 1
    assert agreement(answer, (answer,)) == 1


def test_letters_of_every_script_count() -> None:
    assert same("«Москва»!") == same("москва") and same("東京。") == same("東京") != same("京都")


def test_long_answers_and_single_ones_are_not_compared() -> None:
    place = Place("p", 0, 0)
    assert is_comparable(RatedAnswer(place, "q", "yes", ("no",)))
    assert not is_comparable(RatedAnswer(place, "q", "yes"))
    assert not is_comparable(RatedAnswer(place, "q", "word " * 13, ("no",)))
