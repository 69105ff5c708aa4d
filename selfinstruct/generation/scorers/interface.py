"""What a scorer sees of an answer, and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from selfinstruct.records import Completion
from selfinstruct.run.answer_scores import Place, Scorer


@dataclass(frozen=True, slots=True)
class RatedAnswer:
    """An answer to be scored.

    Attributes:
        place: of the answer in the journal.
        question: what was asked, constraints included, as the user's message.
        output: the answer.
        others: the other samples of an answer to the same question.
        verified: for each constraint, whether the answer keeps it.
    """

    place: Place
    question: str
    output: str
    others: tuple[str, ...] = ()
    verified: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True)
class Scored:
    """A score, the greater the better, and the model's answer where one was asked."""

    value: float
    completion: Completion | None = None


class AnswerScorer(Protocol):
    """Gives answers their scores."""

    about: Scorer
    """Its name, its model, and the version of its question."""

    async def score(self, answer: RatedAnswer) -> Scored:
        """Score one answer.

        Raises:
            RequestFailed: this answer has no score; others may have one.
        """
        ...
