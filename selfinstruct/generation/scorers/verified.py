"""Verified: the share of its constraints that an answer keeps, by a program's check. Answers without any have no score.

It tells apart the answers of a run whose filter `constraint` is off or warns; the others keep all their constraints.
"""

from __future__ import annotations

from selfinstruct.generation.scorers.interface import RatedAnswer, Scored
from selfinstruct.run.answer_scores import Scorer


def has_constraints(answer: RatedAnswer) -> bool:
    """Return whether anything was demanded of an answer that a program checks."""
    return bool(answer.verified)


class Verified:
    """Counts the constraints that are kept."""

    about = Scorer("verified", "", "1")

    async def score(self, answer: RatedAnswer) -> Scored:
        """Score one answer; see `AnswerScorer.score`."""
        return Scored(round(sum(answer.verified) / len(answer.verified), 4))
