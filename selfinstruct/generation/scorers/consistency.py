"""Consistency: the share of the other samples that say the same. It is for short answers: a number, a name, a label.

(Self-consistency, arXiv 2203.11171.) Long answers are never alike by their words, so that they get no score.
"""

from __future__ import annotations

import re

from selfinstruct.generation.scorers.interface import RatedAnswer, Scored
from selfinstruct.run.answer_scores import Scorer

MOST_WORDS = 12
"""Words of an answer that is short."""


def same(text: str) -> str:
    """Return what is compared of an answer: its words in small letters, without punctuation around them.

    >>> same("**Paris.**\\n") == same("paris"), same("3.5") == same("3,5")
    (True, False)
    """
    return " ".join(re.sub(r"^\W+|\W+$", "", word) for word in text.casefold().split())


def is_comparable(answer: RatedAnswer) -> bool:
    """Return whether an answer is short, and one of several samples."""
    return bool(answer.others) and len(answer.output.split()) <= MOST_WORDS


def agreement(answer: str, others: tuple[str, ...]) -> float:
    """Return the share of the other samples that say the same, in [0, 1]; there is at least one other."""
    return round(sum(same(other) == same(answer) for other in others) / len(others), 4)


class Consistency:
    """Compares the samples of an answer; see `agreement`."""

    about = Scorer("consistency", "", "1")

    async def score(self, answer: RatedAnswer) -> Scored:
        """Score one answer; see `AnswerScorer.score`."""
        return Scored(agreement(answer.output, answer.others))
