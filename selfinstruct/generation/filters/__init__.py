"""Filters decide on candidates.

One file per filter, each a function that returns a named reason with evidence, or None.
`heuristics` chains those of instructions in the order in which reasons are reported; novelty comes after it and belongs
to `selfinstruct.novelty`. Instances have a file of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from selfinstruct.config.schema import Filters
from selfinstruct.generation.filters.characters import invalid_characters
from selfinstruct.generation.filters.keywords import keyword, opening
from selfinstruct.generation.filters.length import length
from selfinstruct.generation.filters.script import first_character, scripts_of
from selfinstruct.records import Rejection

InstructionFilter = Callable[[str], Rejection | None]


def heuristics(filters: Filters, seeds: Sequence[str]) -> InstructionFilter:
    """All heuristics of instructions as one filter; the first that objects is the reason.

    Args:
        filters: the options.
        seeds: seed instructions; the scripts they begin with are those of the dataset.
    """
    chain: list[InstructionFilter] = [
        invalid_characters,
        partial(length, min_words=filters.min_words, max_words=filters.max_words),
        partial(keyword, keywords=filters.keywords),
        partial(opening, openings=filters.openings),
        partial(first_character, scripts=scripts_of(seeds)),
    ]

    def check(text: str) -> Rejection | None:
        return next((found for found in (objects(text) for objects in chain) if found is not None), None)

    return check


__all__ = ["InstructionFilter", "heuristics"]
