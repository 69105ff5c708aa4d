"""Constraints that ask for JSON."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from selfinstruct.constraints.kind import ALL, ConstraintType, nothing, number

_FENCE = re.compile(r"```(?:json|JSON)?[ \t]*\n(.*?)\n?```", re.S)
_KEYS = ("answer", "reason", "title", "summary", "details", "example", "name", "note")


def _value(text: str) -> Any:
    """Return the value that the text is, also between lines of backticks; None if it is no JSON."""
    fenced = _FENCE.fullmatch(text)
    try:
        return json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        return None


def _has_keys(text: str, keys: Sequence[str]) -> bool:
    value = _value(text)
    return isinstance(value, dict) and set(value) == set(keys)


def _strings(text: str, n: int) -> bool:
    value = _value(text)
    return isinstance(value, list) and len(value) == n and all(isinstance(one, str) and one for one in value)


def _entries(text: str) -> str:
    """Return the content of an array, or in an object behind its keys; "" where there is nothing."""
    value = _value(text)
    entries = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else [text]
    return "\n".join(one if isinstance(one, str) else json.dumps(one) for one in entries if one not in (None, [], {}))


def _some_keys(rng: random.Random) -> Mapping[str, Any]:
    return {"keys": rng.sample(_KEYS, rng.randrange(2, 4))}


TYPES = (
    ConstraintType(
        "json/object",
        lambda text: isinstance(_value(text), dict),
        nothing,
        (
            "Answer with a JSON object and nothing else.",
            "The whole answer must be one valid JSON object.",
            "Write the answer as a JSON object, without any text around it.",
        ),
        ALL,
        ("detectable_format:json_format",),
        without=lambda text, **_: _entries(text),
    ),
    ConstraintType(
        "json/keys",
        _has_keys,
        _some_keys,
        (
            "Answer with a JSON object whose keys are {keys}, and with nothing else.",
            "Give only a JSON object with the keys {keys}.",
            "Your answer must be valid JSON: an object with exactly the keys {keys}.",
        ),
        ALL,
        ("detectable_format:json_format",),
        without=lambda text, **_: _entries(text),
        variant_of="json/object",
    ),
    ConstraintType(
        "json/strings",
        _strings,
        number(2, 4),
        (
            "Answer with a JSON array of {n} strings and nothing else.",
            "The whole answer must be a valid JSON array that holds {n} strings.",
            "Write only a JSON list with {n} entries, each of them a string.",
        ),
        ALL,
        ("detectable_format:json_format",),
        without=lambda text, **_: _entries(text),
        variant_of="json/object",
    ),
)
