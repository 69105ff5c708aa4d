"""Choose a diverse set of seed tasks from a dataset: greedy farthest-point selection by ROUGE-L.

Each step takes the task whose nearest chosen task is farthest away, as the novelty filter measures it (Gonzalez 1985:
at most twice as far from the best cover as is possible). Such a choice likes oddities, so that tasks which cannot be
seeds are left out first, each with a reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

import numpy as np

from selfinstruct.config.schema import Filters
from selfinstruct.formats.seed_tasks import unfit_texts
from selfinstruct.generation.examples import can_be_shown
from selfinstruct.generation.filters import heuristics
from selfinstruct.generation.frame import load_frame
from selfinstruct.novelty.farthest import Likeness
from selfinstruct.records import Instance, SeedTask

LONGEST = 300
"""Words of a task's instances together, at most: prompts show several tasks."""
MOST_INSTANCES = 5
"""Of a task that has thousands, as those of Super-NaturalInstructions have."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The chosen tasks, in the order of the dataset.

    Attributes:
        tasks: the chosen ones.
        candidates: number of tasks that could be chosen.
        left_out: number of other tasks, by reason.
        nearest: the greatest ROUGE-L F between two chosen instructions, in [0, 1].
    """

    tasks: tuple[SeedTask, ...]
    candidates: int
    left_out: dict[str, int]
    nearest: float


def choose_seeds(
    tasks: Sequence[SeedTask], number: int, progress: Callable[[int], None] = lambda chosen: None
) -> Selection:
    """Choose up to `number` tasks that differ from each other as much as possible; the same of the same dataset.

    The first task is the one of median length among the candidates. Classification tasks have the share that they have
    among the candidates: their short instructions are no outliers, and would seldom be the farthest.

    Args:
        tasks: all tasks of the dataset.
        number: how many to choose.
        progress: is given the number of chosen tasks now and then.
    """
    left_out: Counter[str] = Counter()
    candidates = []
    check = heuristics(Filters(), [task.instruction for task in tasks])
    frame = load_frame()
    for whole in tasks:
        task = replace(whole, instances=_few(whole.instances))
        rejection = check(task.instruction)
        if rejection is not None:
            left_out[rejection.reason] += 1
        elif not task.instances:
            left_out[f"instances of more than {LONGEST} words"] += 1
        elif unfit_texts(task):
            left_out["invalid characters"] += 1
        elif not can_be_shown(task, frame):
            left_out["cannot be shown in a prompt"] += 1
        else:
            candidates.append(task)
    number = min(number, len(candidates))
    classification = sum(task.is_classification for task in candidates)
    labelled = round(number * classification / max(len(candidates), 1))
    room = {True: labelled, False: number - labelled}
    kinds = [task.is_classification for task in candidates]
    chosen, nearest = _farthest([task.instruction for task in candidates], kinds, room, progress)
    return Selection(
        tuple(candidates[k] for k in sorted(chosen)), len(candidates), dict(left_out.most_common()), nearest
    )


def _few(instances: Sequence[Instance]) -> tuple[Instance, ...]:
    """Return a few instances that are short enough together: the first of each output, then the second ..."""
    before: Counter[str] = Counter()
    placed = []
    for instance in instances:
        placed.append((before[instance.output], instance))
        before[instance.output] += 1
    chosen: list[Instance] = []
    left = LONGEST
    for _, instance in sorted(placed, key=itemgetter(0)):
        words = len(f"{instance.input} {instance.output}".split())
        if words <= left and len(chosen) < MOST_INSTANCES:
            chosen.append(instance)
            left -= words
    return tuple(chosen)


def _farthest(
    texts: Sequence[str], kinds: Sequence[bool], room: dict[bool, int], progress: Callable[[int], None]
) -> tuple[list[int], float]:
    """Return the positions of the chosen texts, and the greatest ROUGE-L F between two of them.

    Args:
        texts: the texts.
        kinds: the kind of each.
        room: how many of each kind to choose; there are as many.
        progress: is given the number of chosen texts now and then.
    """
    chosen: list[int] = []
    nearest = 0.0
    left = dict(room)
    likeness, kind = Likeness(texts), np.array(kinds, bool)
    by_length = np.argsort(likeness.lengths, kind="stable").tolist()
    while any(left.values()):
        wanted = [k for k in (False, True) if left[k]]
        scores = np.where(np.isin(kind, wanted), likeness.scores, np.inf)
        median = by_length[len(texts) // 2]
        farthest = int(scores.argmin()) if chosen or kinds[median] not in wanted else median
        nearest = max(nearest, float(scores[farthest]))
        chosen.append(farthest)
        left[kinds[farthest]] -= 1
        likeness.choose(farthest)
        progress(len(chosen))
    return chosen, nearest
