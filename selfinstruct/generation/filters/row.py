"""One row of training data, as the filters of rows see it."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from selfinstruct.records import Constraint, Rejection


class Row(Struct, frozen=True):
    """An instruction with one instance.

    Attributes:
        instruction: what is asked.
        input: the material that it works on; may be empty.
        output: the answer.
        is_classification: whether the answer is a label.
        constraints: what is demanded of the answer beside the instruction.
    """

    instruction: str
    input: str
    output: str
    is_classification: bool = False
    constraints: tuple[Constraint, ...] = ()


RowFilter = Callable[[Row], Rejection | None]
"""Returns why a row should not be kept, with evidence; None if nothing speaks against it."""
