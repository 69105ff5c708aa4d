"""Keywords of tasks that a text model cannot do, and openings that models use too often (from the reference code)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from selfinstruct.records import Rejection


def keyword(text: str, *, keywords: Sequence[str]) -> Rejection | None:
    """Reject a text that contains one of `keywords` as whole words, in upper or lower case."""
    match = _any_of(tuple(keywords)).search(text) if keywords else None
    return None if match is None else Rejection("keyword", {"keyword": match.group().lower()})


def opening(text: str, *, openings: Sequence[str]) -> Rejection | None:
    """Reject a text that starts with one of `openings` as whole words, in upper or lower case."""
    match = _any_of(tuple(openings)).match(text.lstrip()) if openings else None
    return None if match is None else Rejection("opening", {"opening": match.group()})


@cache
def _any_of(words: tuple[str, ...]) -> re.Pattern[str]:
    phrases = (
        r"\s+".join(re.escape(part) for part in phrase.split()) for phrase in sorted(words, key=len, reverse=True)
    )
    return re.compile(rf"(?<!\w)(?:{'|'.join(phrases)})(?!\w)", re.I)
