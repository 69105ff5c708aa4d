"""The chance level: what answers score with the references of other tasks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuning.evaluation.answers import Answer
from tuning.evaluation.bootstrap import Resampling
from tuning.evaluation.chance import chance_level, shifts
from tuning.evaluation.metrics import METRICS

ROUGE_L = METRICS[0].of
RESAMPLING = Resampling(1000, 0.95, 0)
WORDS = ["river", "lake", "hill", "tree", "bird", "fish", "stone", "cloud", "house", "road"]


def answers(*pairs: tuple[str, str]) -> list[Answer]:
    return [
        Answer(id=f"{k}", task=f"t{k}", set="s", references=(reference,), response=response)
        for k, (reference, response) in enumerate(pairs)
    ]


@pytest.mark.parametrize("response", ["", "the", "the river and the lake and the hill", " ".join(WORDS)])
def test_one_answer_to_all_tasks_is_no_better_than_chance(response: str) -> None:
    found = chance_level(answers(*((f"The {word} is here.", response) for word in WORDS)), ROUGE_L, RESAMPLING)
    assert found is not None and not found.above and found.low <= 0 <= found.high


def test_answers_of_their_own_are_above_chance() -> None:
    found = chance_level(answers(*((f"The {word}.", f"A {word}.") for word in WORDS)), ROUGE_L, RESAMPLING)
    assert found is not None and found.above
    assert (found.mean, found.over, found.low, found.high) == (0, 50, 50, 50)


def test_answers_to_other_tasks_are_below_it() -> None:
    pairs = zip(WORDS, WORDS[1:] + WORDS[:1], strict=True)
    found = chance_level(answers(*pairs), ROUGE_L, RESAMPLING)
    assert found is not None and not found.above and found.over < 0 and found.mean == pytest.approx(100 / 9, abs=0.001)


def test_labels_that_are_guessed_right_no_more_often_than_they_occur() -> None:
    guessed = answers(*(("yes" if k % 2 else "no", "yes" if k % 4 < 2 else "no") for k in range(40)))
    known = answers(*(("yes" if k % 2 else "no",) * 2 for k in range(40)))
    levels = [chance_level(rows, ROUGE_L, RESAMPLING) for rows in (guessed, known)]
    assert [level is not None and level.above for level in levels] == [False, True]


def test_no_chance_level_without_another_task() -> None:
    one = answers(("a", "a"))
    assert chance_level(one, ROUGE_L, RESAMPLING) is None
    assert chance_level([], ROUGE_L, RESAMPLING) is None
    few = chance_level(answers(*((word, word) for word in WORDS[:3])), ROUGE_L, RESAMPLING)
    assert few is not None and not few.above, "three tasks show nothing"


@given(st.integers(0, 60), st.integers(0, 9))
def test_tasks_are_moved_to_others_and_each_time_elsewhere(n_tasks: int, seed: int) -> None:
    moves = shifts(n_tasks, seed)
    assert len(set(moves)) == len(moves) == max(0, min(20, n_tasks - 1))
    assert all(0 < move < n_tasks for move in moves)
