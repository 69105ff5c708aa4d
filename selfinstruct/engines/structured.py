"""Answers of a fixed form: a JSON object whose keys have one of some values each.

    {"category": "advice", "difficulty": "easy"}

vLLM itself gets a pattern, which leaves no room for spaces without end; a server gets the schema of OpenAI's interface.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

Fields = Mapping[str, tuple[str, ...]]
"""The values that each key may have."""


def pattern(fields: Fields) -> str:
    r"""Return a regular expression that matches exactly the allowed answers.

    >>> print(pattern({"kind": ("a", "b c")}))
    \{"kind": "(a|b c)"\}
    """
    keys = (f'{_quoted(key)}: "({"|".join(_quoted(value)[1:-1] for value in fields[key])})"' for key in fields)
    return r"\{" + ", ".join(keys) + r"\}"


def _quoted(text: str) -> str:
    return re.sub(r"([.^$*+?{}\[\]\\|()])", r"\\\1", json.dumps(text))


def vllm_parameters(fields: Fields | None) -> Any:
    """Return vLLM's `StructuredOutputsParams` for these answers; None for any answer."""
    if fields is None:
        return None
    from vllm.sampling_params import StructuredOutputsParams

    return StructuredOutputsParams(regex=pattern(fields))


def response_format(fields: Fields) -> dict[str, Any]:
    """Return the option `response_format` of OpenAI's interface for these answers."""
    properties = {key: {"type": "string", "enum": list(values)} for key, values in fields.items()}
    schema = {"type": "object", "properties": properties, "required": list(fields), "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
