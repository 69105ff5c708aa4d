"""Answers that only say the instruction or the input again.

A row that a small model wrote:

    instruction  I am not going to do that. I will not do that.
    output       I am not going to do that.
"""

from __future__ import annotations

from selfinstruct.generation.filters.row import Row
from selfinstruct.novelty import tokenize
from selfinstruct.records import Rejection

_LEAST_WORDS = 4


def echo(row: Row) -> Rejection | None:
    """Reject an output whose words stand in this order, and next to each other, in the instruction."""
    if row.is_classification:
        return None
    output = tokenize(row.output)
    if len(output) >= _LEAST_WORDS and f" {' '.join(output)} " in f" {' '.join(tokenize(row.instruction))} ":
        return Rejection("echo", {"of": "instruction"})
    return None
