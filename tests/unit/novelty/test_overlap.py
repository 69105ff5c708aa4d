from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.formats.evaluation_tasks import EvaluationText
from selfinstruct.novelty import NoveltyIndex
from selfinstruct.novelty.overlap import EvaluationTexts, Overlap

LETTERS = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi".split()
ALL = " ".join(LETTERS)


def texts(instruction: str, *inputs: str, threshold: float = 0.7) -> EvaluationTexts:
    return EvaluationTexts([EvaluationText("e1", instruction, inputs)], threshold)


@pytest.mark.parametrize(
    ("instruction", "found"),
    [
        ("Name the capital!", Overlap("exact", "e1")),
        ("name THE capital city", Overlap("ROUGE-L", "e1", 6 / 7)),
        ("Name a fruit", None),
        (f"so {' '.join(LETTERS[:13])} end", Overlap("n-gram", "e1", text=" ".join(LETTERS[:13]))),
        (f"so {' '.join(LETTERS[:12])} end", None),  # Of a long text, twelve words in a row are too few.
        (f"so {' '.join(LETTERS[:8])} end", Overlap("n-gram", "e1", text=" ".join(LETTERS[:8]))),
        (f"so {' '.join(LETTERS[:7])} end", None),
        (f"{ALL[::-1]} name the city of the oldest king there {ALL[::-1]}", None),
        ("", None),
        ("!!!", None),
    ],
)
def test_the_three_measures(instruction: str, found: Overlap | None) -> None:
    assert texts("Name the capital", ALL).find(instruction) == found


def test_a_long_text_may_hold_a_short_one_whole() -> None:
    evaluation = texts("Name", "the ships of the old fleet sailed home again")
    held = "the ships of the old fleet sailed home again"
    assert evaluation.find(f"Say in one word how it is that {held}.") == Overlap("n-gram", "e1", text=held)
    assert evaluation.find(f"Say in one word how it is that {held[:-6]} tomorrow.") is None


def test_a_short_input_may_be_that_of_another_task() -> None:
    evaluation = texts("Name the capital", "Kenya", ALL)
    assert evaluation.find("Describe the climate of the country.", "Kenya") is None
    assert evaluation.find("Describe the words.", ALL) == Overlap("exact", "e1")


words = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=7).map(" ".join)


@given(st.lists(words, min_size=1, max_size=6), words, st.sampled_from([0.3, 0.5, 0.7]))
def test_rouge_l_is_that_of_the_novelty_filter(instructions: list[str], text: str, threshold: float) -> None:
    evaluation = EvaluationTexts([EvaluationText(str(k), t) for k, t in enumerate(instructions)], threshold)
    found = evaluation.find(text)
    (nearest,) = NoveltyIndex(instructions, threshold).nearest(text)
    if found is None:
        assert not text or nearest.score <= threshold
    elif found.measure == "ROUGE-L":
        assert (found.task, found.score) == (str(nearest.index), nearest.score)
    else:
        assert nearest.score == 1.0
