"""What scorers say about the answers of a run: how their scores are spread, over all answers and within a question."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from selfinstruct.run.answer_scores import Place, Scorer
from selfinstruct.run.state import RunState


@dataclass(frozen=True, slots=True)
class Rated:
    """The scores of one scorer.

    Attributes:
        scorer: its name and its model.
        values: its scores, in ascending order.
        failed: answers that it has no score for.
        mean: of the scores.
        quantiles: the scores that 5, 25, 50, 75 and 95 % of the answers do not exceed.
        spread: mean difference between the best and the worst answer to the same question; None where no question has
            two answers with a score.
    """

    scorer: str
    values: list[float]
    failed: int
    mean: float
    quantiles: list[float]
    spread: float | None


def rated(state: RunState) -> list[Rated]:
    """Return the scores of each scorer that gave any, in the order in which they began."""
    rated = (_of(scorer, scores) for scorer, scores in state.scores.items())
    return [one for one in rated if one is not None]


def _of(scorer: Scorer, scores: Mapping[Place, float | None]) -> Rated | None:
    by_question: dict[tuple[str, int], list[float]] = defaultdict(list)
    for place, value in scores.items():
        if value is not None:
            by_question[place.id, place.instance].append(value)
    values = sorted(value for some in by_question.values() for value in some)
    if not values:
        return None
    spreads = [max(some) - min(some) for some in by_question.values() if len(some) > 1]
    return Rated(
        scorer=" ".join(filter(None, (scorer.name, scorer.model))),
        values=values,
        failed=len(scores) - len(values),
        mean=fmean(values),
        quantiles=[values[(len(values) - 1) * share // 100] for share in (5, 25, 50, 75, 95)],
        spread=fmean(spreads) if spreads else None,
    )
