"""Whether a row of training data is kept: all filters of rows together.

One file per filter, a pure function from the `Row` to a `Rejection`. The option of the same name (`filters.echo`) says
what the filter does with a row that it objects to: `reject` it, keep it with a `warn`ing in the journal, or nothing
(`off`). `benchmarks/row_filters.py` measures how often each of them objects to a good row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from msgspec import Struct

from selfinstruct.config.schema import Filters
from selfinstruct.generation.filters.constraint import constraint
from selfinstruct.generation.filters.echo import echo
from selfinstruct.generation.filters.identity import identity
from selfinstruct.generation.filters.language import language
from selfinstruct.generation.filters.leak import leak
from selfinstruct.generation.filters.loop import loop
from selfinstruct.generation.filters.no_material import no_material
from selfinstruct.generation.filters.personal_data import personal_data
from selfinstruct.generation.filters.refusal import refusal
from selfinstruct.generation.filters.row import Row, RowFilter
from selfinstruct.generation.filters.unfinished import unfinished
from selfinstruct.generation.filters.url import url
from selfinstruct.generation.frame import Frame
from selfinstruct.records import Rejection


class RowDecision(Struct, frozen=True):
    """What the filters say of one row.

    Attributes:
        rejection: of the first filter that rejects it; None if the row is kept.
        warnings: of a kept row: the evidence of each filter that only warns, by the filter's reason.
    """

    rejection: Rejection | None = None
    warnings: Mapping[str, dict[str, Any]] = {}


RowCheck = Callable[[Row], RowDecision]


def row_filters(frame: Frame) -> dict[str, RowFilter]:
    """Return every filter of rows by the name of its option, in the order in which they decide.

    Args:
        frame: the words of the run's prompts.
    """
    return {
        "echo": echo,
        "loop": loop,
        "leak": partial(leak, frame=frame),
        "unfinished": unfinished,
        "no_material": no_material,
        "identity": identity,
        "refusal": refusal,
        "language": language,
        "url": url,
        "personal_data": personal_data,
        "constraint": constraint,
    }


def row_check(filters: Filters, frame: Frame) -> RowCheck:
    """Return the function that decides on a row.

    Args:
        filters: the options.
        frame: the words of the run's prompts.
    """
    active = [(getattr(filters, name), objects) for name, objects in row_filters(frame).items()]
    rejecting = [objects for action, objects in active if action == "reject"]
    warning = [objects for action, objects in active if action == "warn"]

    def check(row: Row) -> RowDecision:
        for objects in rejecting:
            if (rejection := objects(row)) is not None:
                return RowDecision(rejection)
        rejections = [rejection for objects in warning if (rejection := objects(row)) is not None]
        return RowDecision(warnings={rejection.reason: rejection.evidence for rejection in rejections})

    return check
