"""Choose a diverse set of seed tasks from a dataset: greedy farthest-point selection by ROUGE-L.

Each step takes the task whose nearest chosen task is farthest away, as the novelty filter measures it (Gonzalez 1985:
at most twice as far from the best cover as is possible). Such a choice likes oddities, so that tasks which cannot be
seeds are left out first, each with a reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rapidfuzz.distance import LCSseq

from selfinstruct.config.schema import Filters
from selfinstruct.formats.seed_tasks import unfit_texts
from selfinstruct.generation.examples import can_be_shown
from selfinstruct.generation.filters import heuristics
from selfinstruct.generation.frame import load_frame
from selfinstruct.novelty import rouge_l, tokenize
from selfinstruct.records import SeedTask

LONGEST = 300
"""Words of a task's instances together, at most: prompts show several tasks."""


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

    The first task is the one of median length among the candidates.

    Args:
        tasks: all tasks of the dataset.
        number: how many to choose.
        progress: is given the number of chosen tasks now and then.
    """
    left_out: Counter[str] = Counter()
    candidates = []
    check = heuristics(Filters(), [task.instruction for task in tasks])
    frame = load_frame()
    for task in tasks:
        rejection = check(task.instruction)
        if rejection is not None:
            left_out[rejection.reason] += 1
        elif sum(len(f"{i.input} {i.output}".split()) for i in task.instances) > LONGEST:
            left_out[f"instances of more than {LONGEST} words"] += 1
        elif unfit_texts(task):
            left_out["invalid characters"] += 1
        elif not can_be_shown(task, frame):
            left_out["cannot be shown in a prompt"] += 1
        else:
            candidates.append(task)
    chosen, nearest = _farthest([tokenize(task.instruction) for task in candidates], number, progress)
    return Selection(
        tuple(candidates[k] for k in sorted(chosen)), len(candidates), dict(left_out.most_common()), nearest
    )


def _farthest(texts: Sequence[list[str]], number: int, progress: Callable[[int], None]) -> tuple[list[int], float]:
    """Return the positions of the chosen texts, and the greatest ROUGE-L F between two of them."""
    if not texts:
        return [], 0.0
    by_length = sorted(range(len(texts)), key=lambda k: (len(texts[k]), k))
    chosen = [by_length[len(texts) // 2]]
    scores = [0.0] * len(texts)
    nearest = 0.0
    while True:
        last = texts[chosen[-1]]
        scores = [
            max(score, rouge_l(LCSseq.similarity(last, text), len(last), len(text)) if text and last else 1.0)
            for score, text in zip(scores, texts, strict=True)
        ]
        scores[chosen[-1]] = 2.0  # Never again.
        if len(chosen) == min(number, len(texts)):
            return chosen, nearest
        farthest = min(range(len(texts)), key=scores.__getitem__)
        nearest = max(nearest, scores[farthest])
        chosen.append(farthest)
        progress(len(chosen))
