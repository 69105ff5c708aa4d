"""Whether a scorer tells good answers from bad ones: the seeds' own outputs from those of other seeds.

A small model grades everything alike, or by its first words. A scorer that cannot see that an answer belongs to another
request sees nothing finer either. The reverse does not hold: one that passes may still be no judge of quality.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from selfinstruct.engines.base import RequestFailed
from selfinstruct.generation.calibration import auc
from selfinstruct.generation.scorers.interface import AnswerScorer, RatedAnswer
from selfinstruct.records import SeedTask, user_message
from selfinstruct.run.answer_scores import Place

NUMBER = 24
"""Seeds whose output is scored, and another one in its place."""
LEAST = 0.7
"""AUC below which scores are said to mean little; 0.5 is chance."""


def known_answers(seeds: Sequence[SeedTask], seed: int) -> list[tuple[RatedAnswer, RatedAnswer]]:
    """Return a right and a wrong answer to each of some seed tasks.

    Labels are left out: that of another task is often right.

    Args:
        seeds: the seed tasks.
        seed: of the choice.
    """
    fitting = [task for task in seeds if not task.is_classification and task.instances[0].output.strip()]
    drawn = random.Random(f"{seed}/scorer_check").sample(fitting, min(NUMBER, len(fitting)))
    outputs = [task.instances[0].output for task in drawn]
    pairs = []
    for task, own, other in zip(drawn, outputs, outputs[1:] + outputs[:1], strict=True):
        if own != other:
            asked = user_message(task.instruction, task.instances[0].input)
            right, wrong = (RatedAnswer(Place(task.id, 0, k), asked, text) for k, text in enumerate((own, other)))
            pairs.append((right, wrong))
    return pairs


async def separation(scorer: AnswerScorer, pairs: Sequence[tuple[RatedAnswer, RatedAnswer]]) -> float | None:
    """Return how often a right answer has a greater score than a wrong one; None if the scorer scores neither.

    Args:
        scorer: that is tried.
        pairs: of a right and a wrong answer.
    """

    async def value(answer: RatedAnswer) -> float | None:
        try:
            return (await scorer.score(answer)).value
        except RequestFailed:
            return None

    by_side = [await asyncio.gather(*map(value, answers)) for answers in zip(*pairs, strict=True)]
    right, wrong = ([score for score in scores if score is not None] for scores in by_side or ([], []))
    return round(auc(right, wrong), 4) if right and wrong else None


def remark(scorer: str, area: float | None) -> str:
    """Return what a user should know of a scorer, as a sentence; empty if it passes.

    Args:
        scorer: its name.
        area: its AUC on known answers; None if it is not known.
    """
    if area is None or area >= LEAST:
        return ""
    return (
        f"{scorer}: a seed's own output has a better score than another seed's in {area:.0%} of the pairs (50% is "
        "chance): these scores mean little; choose nothing by them, or take a larger model"
    )
