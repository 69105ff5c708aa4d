"""Outputs that break a constraint of their row, by the constraint's own check.

instruction  Why do people keep diaries? Answer in 2 sentences or fewer.
output       To remember. To think. To be read one day.
"""

from __future__ import annotations

from selfinstruct.constraints import keeps
from selfinstruct.generation.filters.row import Row
from selfinstruct.records import Rejection


def constraint(row: Row) -> Rejection | None:
    """Object to an output that breaks a constraint. The evidence is the sentences of those that it breaks."""
    broken = [each.text for each in row.constraints if not keeps(row.output, each)]
    return Rejection("constraint", {"broken": broken}) if broken else None
