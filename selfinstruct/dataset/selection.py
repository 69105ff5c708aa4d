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
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from selfinstruct.config.later_stages import SelectBy
from selfinstruct.config.tag_quota import TagQuota
from selfinstruct.formats.exported_rows import ExportedRow
from selfinstruct.novelty import tokenize
from selfinstruct.novelty.farthest import Likeness
from selfinstruct.records import TAG_VALUES, Tags
from selfinstruct.run.export_counts import TagCounts


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
    if number == 0:
        return []
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


def select_by_quota(
    rows: Sequence[ExportedRow],
    number: int,
    choose: Callable[[Sequence[ExportedRow], int], list[ExportedRow]],
    quotas: Sequence[TagQuota],
    values: Mapping[str, str],
) -> list[ExportedRow]:
    """Return at most `number` of the rows, in their order, of each tag its quota.

    A quota is rounded down, and its rows get no more places. Where they are fewer, all others share what is left.

    Args:
        rows: to choose from.
        number: of rows to keep.
        choose: chooses among rows that need no quota.
        quotas: of values of one kind of tag; may be empty.
        values: the tag of each row by its id; a row without one shares with the others.
    """
    chosen: list[ExportedRow] = []
    for quota in quotas:
        of_value = [row for row in rows if values.get(row.id) == quota.value]
        chosen += choose(of_value, math.floor(quota.share * number + 1e-9))
    bound = {quota.value for quota in quotas}
    chosen += choose([row for row in rows if values.get(row.id) not in bound], number - len(chosen))
    ids = {row.id for row in chosen}
    return [row for row in rows if row.id in ids]


def tag_histograms(
    before: Sequence[ExportedRow], after: Sequence[ExportedRow], tags: Mapping[str, Tags]
) -> dict[str, dict[str, TagCounts]]:
    """Return, for each kind of tag, the number of machine-written rows with each value before and after a selection.

    Args:
        before: all rows.
        after: those that were selected.
        tags: of the rows by their id; "" counts those without.
    """
    written = [[row.id for row in rows if row.origin != "seed"] for rows in (before, after)]
    histograms: dict[str, dict[str, TagCounts]] = {}
    for kind in TAG_VALUES:
        old, new = (Counter(str(getattr(tags.get(name), kind, "")) for name in names) for names in written)
        ordered = sorted(old.items(), key=lambda item: (-item[1], item[0]))
        histograms[kind] = {value: TagCounts(before=n, after=new[value]) for value, n in ordered}
    return histograms


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
        weights: above 0; a distance counts as often. The row with the greatest weight represents its instruction.
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
        # Rounded, so that the last digit of a float does not decide between two that are as far.
        chosen.append(int((weight * (1 - likeness.scores.round(9))).argmax()))
    first = [ones[k] for k in chosen]
    taken = set(first)
    return first + [position for position in range(len(rows)) if position not in taken]
