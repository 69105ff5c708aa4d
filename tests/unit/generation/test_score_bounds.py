"""Bounds on scores: numbers, shares, and what they reject."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from selfinstruct.config.scoring import Scores
from selfinstruct.errors import ConfigError
from selfinstruct.generation.score_bounds import ScoreBounds, bound
from selfinstruct.run.answer_scores import Place, Scorer

JUDGE, OTHER = Scorer("judge", "m", "1"), Scorer("judge", "n", "1")


def scored(*groups: Sequence[float]) -> Any:
    return {JUDGE: {Place(f"p{k}", 0, n): value for k, group in enumerate(groups) for n, value in enumerate(group)}}


def bounds(scores: Any, **options: Any) -> ScoreBounds:
    return ScoreBounds.of(Scores.model_validate(options), scores)


def reason(found: ScoreBounds, *values: float) -> str | None:
    rejection = found.objection(values)
    return rejection and rejection.reason


def test_each_bound_looks_at_its_own_number() -> None:
    some = scored((1.0, 4.0))
    assert reason(bounds(some, min_best=4), 1.0, 4.0) is None
    assert reason(bounds(some, min_best="4.1"), 1.0, 4.0) == "low_best"
    assert reason(bounds(some, min_worst=2), 1.0, 4.0) == "low_worst"
    assert reason(bounds(some, max_spread=3), 1.0, 4.0) is None
    assert reason(bounds(some, max_spread=2.5), 1.0, 4.0) == "wide_spread"


def test_the_evidence_says_whose_score_and_which_bound() -> None:
    rejection = bounds(scored((2.0,), (3.0,), (4.0,), (5.0,)), min_best="50%").objection([3.0])
    assert rejection is not None
    assert rejection.evidence == {"scorer": "judge", "score": 3.0, "bound": 4.0}


def test_a_share_is_of_the_inputs_by_their_best_score() -> None:
    found = bounds(
        scored((1.0, 5.0), (2.0, 2.0), (3.0, 1.0), (4.0, 1.0)), min_best="25%", min_worst="0%", max_spread="75%"
    )
    assert (found.min_best, found.min_worst, found.max_spread) == (3.0, 1.0, 3.0)


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=30), st.integers(0, 99))
def test_about_the_share_goes_and_never_more(values: list[float], percent: int) -> None:
    low, high = bound(f"{percent}%", values), bound(f"{percent}%", values, from_above=True)
    assert low is not None and high is not None
    assert sum(value < low for value in values) <= len(values) * percent / 100
    assert sum(value > high for value in values) <= len(values) * (100 - percent) / 100
    if len(set(values)) == len(values):
        assert sum(value < low for value in values) > len(values) * percent / 100 - 1


def test_the_scorer_that_began_last_decides_unless_one_is_named() -> None:
    place = Place("p", 0, 0)
    scores = {JUDGE: {place: 1.0}, OTHER: {place: 5.0}, Scorer("reward", "r", "1"): {place: -2.0}}
    assert ScoreBounds.of(Scores(), scores).values == {place: -2.0}
    assert ScoreBounds.of(Scores(scorer="judge"), scores).values == {place: 5.0}
    with pytest.raises(ConfigError, match="has a score by verified; first: selfinstruct rate"):
        ScoreBounds.of(Scores(scorer="verified"), scores)


@pytest.mark.parametrize("wrong", ["good", "120%", "-5%", "1e3", ""])
def test_what_is_no_bound_is_refused(wrong: str) -> None:
    with pytest.raises(ValidationError, match="neither a score"):
        Scores.model_validate({"min_best": wrong})
