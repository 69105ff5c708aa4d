"""Format numbers, sizes and text of models for people."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

GIB = 1 << 30

# Lone surrogates, C1 controls and non-characters cannot be shown at all; C0 controls have pictures (U+2400 ...).
_UNSHOWABLE = re.compile("[\ud800-\udfff\x80-\x84\x86-\x9f\ufdd0-\ufdef\ufffe\uffff]")

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f]")

# Marks that change the direction of the text after them, also after the end of their own text.
_DIRECTION = re.compile("[\u202a-\u202e\u2066-\u2069]")


# What a terminal obeys or hides instead of showing it; line breaks and tabs are text.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def size_text(size: float) -> str:
    """Return a number of bytes as text: `3.2 GiB`, `512.0 MiB`."""
    for unit, shift in (("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size >= 1 << shift:
            return f"{size / (1 << shift):.1f} {unit}"
    return f"{size:.0f} bytes"


def counted(number: int, noun: str) -> str:
    """Return a number of things: `1 GPU`, `2 GPUs`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def name_and_number(text: str) -> tuple[str, float | None]:
    """Split `NAME:number`; without a number at the end the whole text is the name.

    >>> name_and_number("mine.jsonl:0.5"), name_and_number("domain:healthcare")
    (('mine.jsonl', 0.5), ('domain:healthcare', None))
    """
    name, colon, number = text.rpartition(":")
    try:
        return (name, float(number)) if colon else (text, None)
    except ValueError:
        return text, None


def duration(seconds: float) -> str:
    """Return a length of time as text: `3 s`, `2 min 05 s`, `7 h 12 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def without_long_runs(text: str) -> str:
    """Return a message without the middle of each run of 500 or more characters that holds no white space.

    Such a run is a value that was mistyped or pasted: its beginning and its end tell which.

    >>> without_long_runs("got " + "9" * 5000) == "got " + "9" * 120 + "…" + "9" * 40
    True
    """
    return re.sub(r"\S{500,}", lambda run: f"{run[0][:120]}…{run[0][-40:]}", text)


def visible(text: str) -> str:
    """Return the text of a model for a terminal. Escapes replace the characters that are not printable."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def printable(text: str) -> str:
    """Return a text of several lines for a terminal. Escapes replace control characters, also those of colours.

    >>> printable("a\\x1b[2Jb\\n\\tc")
    'a\\\\x1b[2Jb\\n\\tc'
    """
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def evidence_text(evidence: dict[str, Any] | None) -> str:
    """Return the evidence of a rejection in brackets, for a terminal; a neighbour as its id and score.

    >>> evidence_text({"words": 2, "nearest": {"id": "seed_001", "score": 0.75}})
    '(words: 2; nearest: seed_001, 0.7500)'
    """

    def one(value: Any) -> str:
        return f"{value['id']}, {value['score']:.4f}" if isinstance(value, dict) else str(value)

    known = {name: value for name, value in (evidence or {}).items() if value is not None}
    return visible(f"({'; '.join(f'{name}: {one(value)}' for name, value in known.items())})" if known else "")


def shorten(text: Any, limit: int = 600, lines: int = 14) -> str:
    """Return at most `limit` characters and `lines` lines of a text. An ellipsis shows that the rest is missing.

    Args:
        text: any value; its `str` is used.
        limit: largest number of characters.
        lines: largest number of lines.

    >>> shorten("one two three", 8)
    'one two…'
    """
    whole = str(text).strip()
    kept = "\n".join(whole[:limit].split("\n")[:lines]).rstrip()
    return kept if len(kept) == len(whole) else f"{kept}…"


def legible(value: Any) -> Any:
    """Return a text without the characters that a browser or a UTF-8 file cannot hold. Return other values unchanged.

    >>> legible("a\\x00b\\ud800"), legible(3)
    ('a␀b�', 3)
    """
    if not isinstance(value, str) or hasattr(value, "__html__"):  # Our own markup stays unchanged.
        return value
    value = _UNSHOWABLE.sub("\N{REPLACEMENT CHARACTER}", value.replace("\r\n", "\n"))
    value = _CONTROL.sub(lambda m: "␡" if m.group() == "\x7f" else chr(0x2400 + ord(m.group())), value)
    return _DIRECTION.sub("\N{REPLACEMENT CHARACTER}", value)


def number(value: Any, digits: int = 0, sign: bool = False) -> str:
    """Return a number with thousands separators, or a dash if the value is not a finite number.

    Args:
        value: the number.
        digits: digits after the decimal point.
        sign: write a plus sign before positive numbers.

    >>> number(52445), number(-1.26, 1), number(2.0, 1, sign=True), number(-0.04, 1), number(None)
    ('52,445', '−1.3', '+2.0', '0.0', '–')
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return "–"
    rounded = round(value, digits) + 0  # Never "-0.0".
    return f"{rounded:{'+' if sign else ''},.{digits}f}".replace("-", "−")


def capped(lines: Sequence[str], most: int) -> list[str]:
    """Return the first `most` lines; if there are others, a last line says how many.

    >>> capped(["a", "b", "c", "d"], 2)
    ['a', 'b', '... and 2 more']
    """
    return [*lines[:most], *([f"... and {len(lines) - most:,} more"] if len(lines) > most else [])]


def percent(part: Any, whole: Any = 1, digits: int = 0) -> str:
    """Return `part / whole` in per cent, or a dash if it cannot be computed.

    Args:
        part: the numerator.
        whole: the denominator.
        digits: digits after the decimal point.

    >>> percent(1, 8), percent(0.345, digits=1), percent(1, 0)
    ('12 %', '34.5 %', '–')
    """
    if not isinstance(part, int | float) or not isinstance(whole, int | float) or not whole:
        return "–"
    return f"{number(100 * part / whole, digits)} %"
