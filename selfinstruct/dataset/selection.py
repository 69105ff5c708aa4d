"""Choose the training rows that a smaller dataset keeps. The same rows and options give the same choice.

random     by a hash of the row's id
longest    the longest outputs, which is a strong baseline (arXiv 2402.04833)
farthest   instructions far from each other in ROUGE-L: each next one is that which is least similar to all before
           (farthest-first traversal, a 2-approximation of the k-center problem; Gonzalez 1985)
best       the highest scores (`selfinstruct rate`); rows without a score come last
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

from selfinstruct.config.later_stages import SelectBy
from selfinstruct.formats.exported_rows import ExportedRow
from selfinstruct.novelty import NoveltyIndex, tokenize


def select(
    rows: Sequence[ExportedRow], number: int, by: SelectBy, scores: Mapping[str, float] | None = None
) -> list[ExportedRow]:
    """Return at most `number` of the rows, in their order.

    `farthest` compares each chosen instruction with all: its time grows with rows x chosen rows.

    Args:
        rows: to choose from.
        number: of rows to keep.
        by: how they are chosen.
        scores: of the rows, by id; for `best`.
    """
    if len(rows) <= number:
        return list(rows)
    if by == "farthest":
        order = _farthest_first(rows, number)
    elif by == "longest":
        order = sorted(range(len(rows)), key=lambda k: (-len(tokenize(rows[k].output)), k))
    elif by == "best":
        known = scores or {}
        order = sorted(range(len(rows)), key=lambda k: (-known.get(rows[k].id, -math.inf), k))
    else:
        order = sorted(range(len(rows)), key=lambda k: hashlib.sha256(f"select/{rows[k].id}".encode()).digest())
    return [rows[k] for k in sorted(order[:number])]


def _farthest_first(rows: Sequence[ExportedRow], number: int) -> list[int]:
    """Return the positions of rows: one of each instruction, the farthest first, and then further ones in order."""
    first: dict[str, int] = {}
    for position, row in enumerate(rows):
        first.setdefault(row.instruction, position)
    texts = list(first)
    index = NoveltyIndex(texts)
    likest = [0.0] * len(texts)  # Greatest similarity of each text to the chosen ones; above 1 once it is chosen.
    chosen = [0]
    while len(chosen) < min(number, len(texts)):
        likest[chosen[-1]] = 2.0
        for near in index.nearest(texts[chosen[-1]], len(texts)):
            likest[near.index] = max(likest[near.index], near.score)
        chosen.append(min(range(len(texts)), key=likest.__getitem__))
    ones = [first[texts[k]] for k in chosen]
    taken = set(ones)
    return ones + [position for position in range(len(rows)) if position not in taken]
