"""Remarks to the user at the end of an answer: "I hope these examples help!"."""

from __future__ import annotations

import re
from typing import Literal

_REMARK = re.compile(
    r"[*_(]*(?:(?:I )?hope (?:this|these|that|it|they)|(?:please )?let me know|(?:please )?feel free|"
    r"these (?:examples|instances|are)|please note|note that|if you(?: need| want| would| have|'d))\b",
    re.I,
)
_TO_THE_USER = re.compile(
    r"\b(?:helps?|helpful|anything else|(?:further|more|other|additional|any) (?:\w+ )?(?:help|questions?|assistance|"
    r"changes|information|details|clarifications?)|to ask|I can help|me to)\b",
    re.I,
)
_ABOUT_ANSWER = re.compile(r"\b(?:examples?|instances?)\b", re.I)
_ABOUT_LIST = re.compile(r"\b(?:tasks?|list|examples?|instructions?|ideas?)\b", re.I)


def remark(line: str) -> Literal["about examples", "perhaps"] | None:
    """Return whether the last line of an answer with examples is a remark to the user about them, or may be one.

    >>> [remark(line) for line in ("I hope these examples help!", "Let me know if you need more help.", "I hope so.")]
    ['about examples', 'perhaps', None]
    """
    if not _REMARK.match(line):
        return None
    about_examples = _ABOUT_ANSWER.search(line) is not None
    if about_examples and not line.casefold().lstrip("*_(").startswith("these are"):
        return "about examples"
    return "perhaps" if about_examples or _TO_THE_USER.search(line) else None


def is_about_list(line: str) -> bool:
    """Return whether the last line of a list of tasks is a remark to the user about them."""
    return _REMARK.match(line) is not None and _ABOUT_LIST.search(line) is not None
