"""The chance level of a set: what an arm's answers score as answers to other tasks.

A model that rambles shares words with any reference. So a small score, and a difference between two small scores, may
say nothing about what was asked. Each answer is scored with the references of other tasks; only an arm whose answers
score more with their own is above chance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

import numpy as np
from msgspec.structs import replace

from selfinstruct.run.scores import ChanceLevel
from tuning.evaluation.answers import Answer
from tuning.evaluation.bootstrap import Resampling, Score, compare

_MOVES = 20
"""Most other tasks with whose references each answer is scored."""


def chance_level(
    answers: Sequence[Answer], of: Callable[[Answer], float], resampling: Resampling
) -> ChanceLevel | None:
    """Return the chance level of one arm's answers to one set; None where there is no other task.

    Args:
        answers: the answers.
        of: the score of an answer.
        resampling: how often, with which confidence and seed.
    """
    by_task: dict[str, list[Answer]] = {}
    for row in answers:
        by_task.setdefault(row.task, []).append(row)
    tasks = list(by_task.values())
    moves = shifts(len(tasks), resampling.seed)
    if not moves:
        return None
    own, moved = {}, {}
    for k, rows in enumerate(tasks):
        for n, row in enumerate(rows):
            others = [tasks[(k + move) % len(tasks)] for move in moves]
            scores = [of(replace(row, references=rows[n % len(rows)].references)) for rows in others]
            own[row.id] = Score(row.task, of(row))
            moved[row.id] = Score(row.task, fmean(scores))
    over = compare("", "", ("own", own), ("moved", moved), resampling)
    assert over is not None, "there are answers"
    return ChanceLevel(
        mean=round(fmean(score.value for score in moved.values()), 6),
        over=over.difference,
        low=over.low,
        high=over.high,
        above=over.significant and over.difference > 0,
    )


def shifts(n_tasks: int, seed: int) -> list[int]:
    """Return by how many places the tasks are moved: each time to another task, and each time to a different one."""
    return [int(move) + 1 for move in np.random.default_rng(seed).permutation(max(0, n_tasks - 1))[:_MOVES]]
