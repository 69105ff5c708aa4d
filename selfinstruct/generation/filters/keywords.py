"""Keywords of tasks that a text model cannot do, and openings that models use too often (from the reference code)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import groupby

from selfinstruct.novelty import is_unspaced, may_hold, tokenize
from selfinstruct.records import Rejection


def keyword(text: str, *, keywords: Sequence[str]) -> Rejection | None:
    """Reject a text that contains one of `keywords` as whole words, in upper or lower case.

    A keyword in a script written without spaces is found anywhere.
    """
    words = tuple(keywords)
    first = _first_words(words)
    # The pattern takes a hundred times as long to see that none is there.
    if not words or (first is not None and not may_hold(text, first)):
        return None
    match = any_of(words).search(unicodedata.normalize("NFC", text))
    return None if match is None else Rejection("keyword", {"keyword": match.group().lower()})


def opening(text: str, *, openings: Sequence[str]) -> Rejection | None:
    """Reject a text that starts with one of `openings` as whole words, in upper or lower case."""
    match = any_of(tuple(openings)).match(unicodedata.normalize("NFC", text).lstrip()) if openings else None
    return None if match is None else Rejection("opening", {"opening": match.group()})


@cache
def _first_words(keywords: tuple[str, ...]) -> frozenset[str] | None:
    """Return the words of which a text in ASCII holds one if it holds a keyword; None: a keyword may have others."""
    phrases = [tokenize(phrase) if phrase.isascii() else [] for phrase in keywords if phrase.split()]
    return frozenset(words[0] for words in phrases) if all(phrases) else None


@cache
def any_of(words: tuple[str, ...]) -> re.Pattern[str]:
    """Return the pattern that finds any of the words or phrases, whole and in any case."""
    phrases = [unicodedata.normalize("NFC", phrase).split() for phrase in sorted(words, key=len, reverse=True)]
    groups = [_whole(*ends, group) for ends, group in groupby(filter(None, phrases), _unspaced_ends)]
    return re.compile("|".join(groups) or "(?!)", re.I)


def _unspaced_ends(parts: Sequence[str]) -> tuple[bool, bool]:
    return is_unspaced(parts[0][0]), is_unspaced(parts[-1][-1])


def _whole(begins_anywhere: bool, ends_anywhere: bool, phrases: Iterable[Sequence[str]]) -> str:
    """Return the pattern of phrases. What they begin and end with must be no part of a longer word.

    The beginning is looked at once for all of them, which takes a tenth of the time.
    """
    before = "" if begins_anywhere else rf"(?<![\w{_marks()}])"
    after = "" if ends_anywhere else rf"(?![\w{_marks()}])"
    either = "|".join(r"\s+".join(map(re.escape, parts)) for parts in phrases)
    return f"{before}(?:{either}){after}"


@cache
def _marks() -> str:
    """Return the combining marks for a class of a pattern, in which `\\w` leaves them out: the vowel signs of Hindi."""
    blocks = [*range(0x300, 0x20000), *range(0xE0100, 0xE01F0)]
    return "".join(re.escape(mark) for mark in map(chr, blocks) if unicodedata.category(mark)[0] == "M")
