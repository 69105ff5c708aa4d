"""Instructions a text model cannot carry out, and openings of which models write too many (reference code)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from selfinstruct.records import Rejection


def keyword(text: str, *, keywords: Sequence[str]) -> Rejection | None:
    """Reject a text that mentions one of `keywords` as whole words, in any case."""
    found = _any_of(tuple(keywords)).search(text) if keywords else None
    return None if found is None else Rejection("keyword", {"keyword": found.group().lower()})


def opening(text: str, *, openings: Sequence[str]) -> Rejection | None:
    """Reject a text that starts with one of `openings`, in any case, as whole words."""
    found = _any_of(tuple(openings)).match(text.lstrip()) if openings else None
    return None if found is None else Rejection("opening", {"opening": found.group()})


@cache
def _any_of(words: tuple[str, ...]) -> re.Pattern[str]:
    phrases = (
        r"\s+".join(re.escape(part) for part in phrase.split()) for phrase in sorted(words, key=len, reverse=True)
    )
    return re.compile(rf"(?<!\w)(?:{'|'.join(phrases)})(?!\w)", re.I)
