"""The first character of an instruction: a digit, or a letter of a script in which a seed begins."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from selfinstruct.records import Rejection


def script_of(character: str) -> str:
    """Return the script of a letter or digit: the first word of its Unicode name (`LATIN`, `CYRILLIC`), or `DIGIT`.

    Full-width and other compatibility forms count as the character that they are a form of (the Kelvin sign as K). Kana
    count as `CJK`, because Japanese sentences begin with either.
    """
    character = unicodedata.normalize("NFKC", character)[0]
    if character.isdigit():
        return "DIGIT"
    word = unicodedata.name(character, "UNNAMED").split()[0]
    return "CJK" if word in {"HIRAGANA", "KATAKANA", "IDEOGRAPHIC"} else word


def from_first_word(text: str) -> str:
    """Return a text without the opening punctuation and the invisible characters that it begins with.

    Opening are quotation marks of all languages, brackets, and the inverted marks of Spanish. Invisible are marks of
    direction and zero-width characters. White space goes only behind one of these.

    >>> from_first_word("¿Cuál es?"), from_first_word("« Nommez » un fleuve"), from_first_word("- Name it")
    ('Cuál es?', 'Nommez » un fleuve', '- Name it')
    """
    if text[:1].isalnum():  # Nearly always.
        return text
    start = next((k for k, c in enumerate(text) if not (_is_skipped(c) or (k and c.isspace()))), len(text))
    return text[start:]


def _is_skipped(character: str) -> bool:
    return character in "¿¡\"'" or unicodedata.category(character) in {"Ps", "Pi", "Pf", "Cf"}


def scripts_of(texts: Iterable[str]) -> frozenset[str]:
    """Return the scripts in which the texts begin, and `DIGIT`."""
    return frozenset(script_of(t[0]) for t in texts if t and t[0].isalnum()) | {"DIGIT"}


def first_character(text: str, *, scripts: frozenset[str]) -> Rejection | None:
    """Reject a text that does not begin with a letter or digit, or begins in another script than `scripts`."""
    first = text[:1]
    if not first.isalnum():
        return Rejection("leading_punctuation", {"character": first})
    if script_of(first) not in scripts:
        return Rejection("foreign_script", {"character": first, "script": script_of(first)})
    return None
