"""Find keys in the values of options: these are written to files and command lines, so none may hold one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

_NAME = re.compile(
    r"(?:^|[_-])(?:(?:hf|hub|auth|access|api|bearer|session|secret|private|subscription)[_-]?(?:token|key)"
    r"|password|passwd|secret|credentials?|authorization)$|^token$",
    re.I,
)
"""Names of options that hold a secret; `eos_token` and the like do not."""
_IN_A_QUERY = re.compile(r"^(?:key|sig|signature|code)$", re.I)
"""Names that hold a secret in a URL alone."""
_TEXT = re.compile(
    r"\b(?i:bearer|basic)\s+\S{8,}"
    r"|^(?:hf_|sk-|ghp_|github_pat_|glpat-)(?=[\w-]*[a-z])(?=[\w-]*[A-Z])[\w-]{16,}$"
)
"""Texts that are keys, whatever their name: a header, or the form of well-known providers."""


def secrets(value: Any, name: str = "") -> Iterator[str]:
    """Yield the dotted names of the keys in a value.

    Looked into are mappings, lists, JSON in texts, and URLs. `hf_token: true` is no key.

    Args:
        value: of an option or a whole section.
        name: its dotted name.
    """
    if isinstance(value, Mapping):
        for key, inner in value.items():
            dotted = f"{name}.{key}" if name else str(key)
            if isinstance(inner, str) and inner and _NAME.search(str(key)):
                yield dotted
            else:
                yield from secrets(inner, dotted)
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from secrets(inner, f"{name}.{number}" if name else str(number))
    elif isinstance(value, str):
        yield from _in_text(value, name)


def _in_text(text: str, name: str) -> Iterator[str]:
    if _TEXT.search(text) or ("://" in text and _in_url(text)):
        yield name
    elif text.lstrip().startswith(("{", "[")):
        try:
            inner = json.loads(text)
        except (ValueError, RecursionError):
            return
        yield from secrets(inner, name)


def _in_url(text: str) -> bool:
    """Return whether a URL names a user with a password, or has a key among its parameters."""
    try:
        url = urlsplit(text)
        parameters = parse_qsl(url.query) + parse_qsl(url.fragment)
        return url.password is not None or any(
            value and (_NAME.search(key) or _IN_A_QUERY.search(key)) for key, value in parameters
        )
    except ValueError:
        return False
