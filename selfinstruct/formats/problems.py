"""What is wrong with a value of a user's file, in words."""

from __future__ import annotations

from typing import Any

MOST_PROBLEMS = 20
"""Problems that one error lists."""


def unfit(text: str) -> list[str]:
    """Return the problems of a text: characters that neither a file nor a prompt should hold."""
    problems = []
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        problems.append("holds a lone surrogate, which no text file can hold; remove it")
    if "\0" in text:
        problems.append("holds a NUL character; remove it")
    return problems


def readable(error: Any) -> str:
    """Return the message of one error of pydantic, with the wrong value."""
    if error["type"] == "missing":
        return "is missing"
    return f"{error['msg'][0].lower()}{error['msg'][1:]}, got {repr(error['input'])[:80]}"
