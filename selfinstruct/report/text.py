"""Making foreign text fit to be shown: a model may have written anything, however long.

Escaping for HTML is jinja2's; here is what escaping does not do.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

# Lone surrogates, C1 controls and non-characters cannot be shown at all; C0 controls have pictures (U+2400 ...).
_UNSHOWABLE = re.compile("[\ud800-\udfff\x80-\x84\x86-\x9f\ufdd0-\ufdef\ufffe\uffff]")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
# Marks that turn the direction of what follows, beyond the end of the text they stand in.
_DIRECTION = re.compile("[\u202a-\u202e\u2066-\u2069]")

REASONS = {
    "target_reached": "came after the target was reached",
    "truncated": "cut off by the token limit",
    "invalid_characters": "holds characters that no text file can",
    "too_short": "too short",
    "too_long": "too long",
    "keyword": "asks for what a language model cannot do",
    "opening": "opens like a request for a whole program",
    "leading_punctuation": "begins with punctuation",
    "foreign_script": "begins in a script that the seeds do not use",
    "identical": "identical to an earlier one",
    "near_duplicate": "too close to an earlier one",
    "no_candidates": "no list in the answer",
    "prompt_too_long": "the prompt does not fit the model's context",
    "unparsable_classification": "neither yes nor no",
    "no_instances": "no instance in the answer",
    "empty_output": "no output",
    "output_equals_input": "output repeats the input",
    "ends_in_colon": "ends in a colon, so something is missing",
    "conflicting_outputs": "the same input with two outputs",
    "duplicate_instance": "the same instance twice",
    "second_without_input": "a second one without input",
    "over_max_instances": "more instances than are kept",
    "near_evaluation_task": "close to an evaluation task",
}
"""What the journal's and the export's reasons mean, for people; a reason that is not here is shown as it is."""


def reason(name: str) -> str:
    """A reason in words.

    >>> reason("near_duplicate"), reason("some_new_one")
    ('too close to an earlier one', 'some new one')
    """
    return REASONS.get(name, shorten(name, 60).replace("_", " "))


def shorten(text: Any, limit: int = 600, lines: int = 14) -> str:
    """At most `limit` characters and `lines` lines of a text; an ellipsis says that something is missing.

    >>> shorten("one two three", 8)
    'one two…'
    """
    whole = str(text).strip()
    kept = "\n".join(whole[:limit].split("\n")[:lines]).rstrip()
    return kept if len(kept) == len(whole) else f"{kept}…"


def legible(value: Any) -> Any:
    """A text without what a browser or a UTF-8 file cannot take; anything else as it is.

    >>> legible("a\\x00b\\ud800"), legible(3)
    ('a␀b�', 3)
    """
    if not isinstance(value, str) or hasattr(value, "__html__"):  # Markup of our own is left alone.
        return value
    value = _UNSHOWABLE.sub("\N{REPLACEMENT CHARACTER}", value.replace("\r\n", "\n"))
    value = _CONTROL.sub(lambda m: "␡" if m.group() == "\x7f" else chr(0x2400 + ord(m.group())), value)
    return _DIRECTION.sub("\N{REPLACEMENT CHARACTER}", value)


def number(value: Any, digits: int = 0, sign: bool = False) -> str:
    """A number with thousands separators; a dash where there is none.

    >>> number(52445), number(-1.26, 1), number(2.0, 1, sign=True), number(None), number(float("nan"))
    ('52,445', '−1.3', '+2.0', '–', '–')
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return "–"
    return f"{value:{'+' if sign else ''},.{digits}f}".replace("-", "−")


def percent(part: Any, whole: Any = 1, digits: int = 0) -> str:
    """A share as per cent; a dash where it has no meaning.

    >>> percent(1, 8), percent(0.345, digits=1), percent(1, 0)
    ('12 %', '34.5 %', '–')
    """
    if not isinstance(part, int | float) or not isinstance(whole, int | float) or not whole:
        return "–"
    return f"{number(100 * part / whole, digits)} %"


def size(octets: int) -> str:
    """The size of a file.

    >>> size(900), size(15_300), size(7_200_000)
    ('900 B', '15 kB', '7.2 MB')
    """
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if octets >= factor:
            return f"{octets / factor:.1f} {unit}"
    return f"{octets / 1000:.0f} kB" if octets >= 1000 else f"{octets} B"


FILTERS: dict[str, Callable[..., Any]] = {
    "number": number,
    "percent": percent,
    "shorten": shorten,
    "reason": reason,
    "size": size,
}
"""What the template may use besides jinja2's own."""
