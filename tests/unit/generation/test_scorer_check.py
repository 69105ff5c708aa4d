"""Known answers to seeds: a right and a wrong one to each."""

from __future__ import annotations

from selfinstruct.engines.base import RequestFailed
from selfinstruct.formats.seed_tasks import load_seed_tasks
from selfinstruct.generation.scorer_check import NUMBER, known_answers, remark, separation
from selfinstruct.generation.scorers.interface import RatedAnswer, Scored
from selfinstruct.run.answer_scores import Scorer


class ByLength:
    """Scores an answer by its length; long ones it refuses."""

    about = Scorer("length", "", "1")

    async def score(self, answer: RatedAnswer) -> Scored:
        if len(answer.output) > 400:
            raise RequestFailed("too_long")
        return Scored(float(len(answer.output)))


def test_wrong_answers_are_those_to_other_seeds() -> None:
    seeds = load_seed_tasks(("seed_tasks",))
    pairs = known_answers(seeds, 42)
    assert len(pairs) == NUMBER and pairs == known_answers(seeds, 42) != known_answers(seeds, 43)
    own = {seed.id: seed for seed in seeds}
    for right, wrong in pairs:
        assert right.output == own[right.place.id].instances[0].output != wrong.output
        assert right.question == wrong.question and not own[right.place.id].is_classification
    assert sorted(right.output for right, _ in pairs) == sorted(wrong.output for _, wrong in pairs)


async def test_what_knows_only_lengths_tells_nothing_apart() -> None:
    pairs = known_answers(load_seed_tasks(("seed_tasks",)), 42)
    assert await separation(ByLength(), pairs) == 0.5, "right and wrong answers are the same texts"
    assert await separation(ByLength(), []) is None


def test_only_a_scorer_that_fails_is_remarked_on() -> None:
    assert "in 55% of the pairs" in remark("judge", 0.55)
    assert remark("judge", 0.7) == remark("judge", None) == ""
