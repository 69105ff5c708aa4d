"""How an instruction may begin: with a letter or digit of the dataset's script."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from selfinstruct.records import Rejection


def script_of(character: str) -> str:
    """The script of a letter, as the first word of its Unicode name (`LATIN`, `CYRILLIC`, `CJK`); digits are `DIGIT`.

    Full-width and other compatibility forms count as what they stand for (the Kelvin sign is a K), the kana as CJK:
    Japanese begins sentences with either.
    """
    character = unicodedata.normalize("NFKC", character)[0]
    if character.isdigit():
        return "DIGIT"
    word = unicodedata.name(character, "UNNAMED").split()[0]
    return "CJK" if word in {"HIRAGANA", "KATAKANA", "IDEOGRAPHIC"} else word


def scripts_of(texts: Sequence[str]) -> frozenset[str]:
    """The scripts that the texts begin with: the dataset's own."""
    return frozenset(script_of(t[0]) for t in texts if t and t[0].isalnum()) | {"DIGIT"}


def first_character(text: str, *, scripts: frozenset[str]) -> Rejection | None:
    """Reject a text that begins with punctuation, or with a letter of a script in which no seed begins."""
    first = text[:1]
    if not first.isalnum():
        return Rejection("leading_punctuation", {"character": first})
    if script_of(first) not in scripts:
        return Rejection("foreign_script", {"character": first, "script": script_of(first)})
    return None
