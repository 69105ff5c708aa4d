"""The likeness of texts to chosen ones is the greatest ROUGE-L F, with rouge_score as oracle."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.novelty.farthest import CHOSEN, Likeness
from tests.rouge import scorer

TEXTS = st.lists(st.lists(st.sampled_from("abcde"), max_size=12).map(" ".join), min_size=1, max_size=12)


@given(TEXTS, st.data())
def test_scores_are_the_greatest_f_to_a_chosen_text(texts: list[str], data: st.DataObject) -> None:
    likeness = Likeness(texts)
    chosen = data.draw(st.lists(st.integers(0, len(texts) - 1), max_size=6))
    for position in chosen:
        likeness.choose(position)
    for position, text in enumerate(texts):
        scores = [scorer().score(texts[other], text)["rougeL"].fmeasure for other in chosen]
        assert likeness.scores[position] == (CHOSEN if position in chosen else max(scores, default=0.0))


def test_a_word_counts_as_often_as_both_texts_have_it() -> None:
    likeness = Likeness(["a a a", "a b", "?"])
    likeness.choose(0)
    assert likeness.scores.tolist() == [CHOSEN, pytest.approx(0.4), 0.0]
