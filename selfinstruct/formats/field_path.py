"""The value of a field that may be nested: `instruction`, `messages[0].content`, `conversations[-1].value`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_PATH = re.compile(r"(?:[^.\[\]]+|\[-?\d+\])(?:\.[^.\[\]]+|\[-?\d+\])*")
_STEP = re.compile(r"\[(-?\d+)\]|([^.\[\]]+)")


def value_at(row: Mapping[str, Any], field: str) -> Any:
    """Return the value of a field.

    A key with exactly this name comes first. Otherwise a dot goes into an object, and a number in brackets into a list,
    from its end if the number is negative.

    >>> value_at({"messages": [{"role": "user", "content": "Hi"}]}, "messages[0].content")
    'Hi'

    Raises:
        LookupError: there is no such field. The message says how far it goes, and what is there.
    """
    if field in row:
        return row[field]
    steps = _STEP.finditer(field) if _PATH.fullmatch(field) else ()
    value: Any = row
    reached = "the row"
    for step in steps:
        position, name = step.groups()
        if position is None and isinstance(value, Mapping) and name in value:
            value = value[name]
        elif position is not None and isinstance(value, list) and -len(value) <= int(position) < len(value):
            value = value[int(position)]
        else:
            break
        reached = field[: step.end()]
    else:
        if steps:
            return value
    raise LookupError(f"no field `{field}` ({reached} {_contents(value)})")


def _contents(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"has: {', '.join(f'`{key}`' for key in list(value)[:10]) or 'none'}"
    return f"is a list of {len(value)}" if isinstance(value, list) else f"is of type {type(value).__name__}"
