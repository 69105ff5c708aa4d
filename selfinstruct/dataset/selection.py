"""Choose the training rows that a smaller dataset keeps. The same rows and options give the same choice.

random     by a hash of the row's id
longest    the longest outputs, which is a strong baseline (arXiv 2402.04833)
farthest   instructions far from each other in ROUGE-L: each next one is that which is least similar to all before
           (farthest-first traversal, a 2-approximation of the k-center problem; Gonzalez 1985)
best       the highest scores (`selfinstruct rate`); rows without a score come last
balanced   high scores whose instructions are far from each other: each next row is that with the greatest product of
           its place in the order of scores and its distance to all before
"""

from __future__ import annotations

import bisect
import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np

from selfinstruct.config.later_stages import SelectBy
from selfinstruct.formats.exported_rows import ExportedRow
from selfinstruct.novelty import tokenize
from selfinstruct.novelty.farthest import Likeness


def select(
    rows: Sequence[ExportedRow], number: int, by: SelectBy, scores: Mapping[str, float] | None = None
) -> list[ExportedRow]:
    """Return at most `number` of the rows, in their order.

    Args:
        rows: to choose from.
        number: of rows to keep.
        by: how they are chosen.
        scores: of the rows, by id; for `best` and `balanced`.
    """
    if len(rows) <= number:
        return list(rows)
    if by in ("farthest", "balanced"):
        order = _farthest_first(rows, number, _places(rows, scores or {}) if by == "balanced" else [1.0] * len(rows))
    elif by == "longest":
        order = sorted(range(len(rows)), key=lambda k: (-len(tokenize(rows[k].output)), k))
    elif by == "best":
        known = scores or {}
        order = sorted(range(len(rows)), key=lambda k: (-known.get(rows[k].id, -math.inf), k))
    else:
        order = sorted(range(len(rows)), key=lambda k: hashlib.sha256(f"select/{rows[k].id}".encode()).digest())
    return [rows[k] for k in sorted(order[:number])]


def _places(rows: Sequence[ExportedRow], scores: Mapping[str, float]) -> list[float]:
    """Return the place of each row in the order of scores, in (0, 1]; rows without a score have the least.

    Scores of different scorers have different scales; places have the same one.
    """
    ordered = sorted(scores[row.id] for row in rows if row.id in scores)
    below = (bisect.bisect_right(ordered, scores[row.id]) if row.id in scores else 0 for row in rows)
    return [(1 + number) / (1 + len(ordered)) for number in below]


def _farthest_first(rows: Sequence[ExportedRow], number: int, weights: Sequence[float]) -> list[int]:
    """Return the positions of rows: one of each instruction, the farthest first, and then further ones in order.

    Args:
        rows: to choose from.
        number: of rows that are needed.
        weights: above 0; a distance counts as often. The row of an instruction with the greatest stands for it.
    """
    of_text: dict[str, int] = {}
    for position, row in enumerate(rows):
        known = of_text.setdefault(row.instruction, position)
        if weights[position] > weights[known]:
            of_text[row.instruction] = position
    texts, ones = list(of_text), list(of_text.values())
    likeness, weight = Likeness(texts), np.array([weights[position] for position in ones])
    chosen = [int(weight.argmax())]
    while len(chosen) < min(number, len(texts)):
        likeness.choose(chosen[-1])
        chosen.append(int((weight * (1 - likeness.scores)).argmax()))
    first = [ones[k] for k in chosen]
    taken = set(first)
    return first + [position for position in range(len(rows)) if position not in taken]
