"""Words that mean "no input", in every language of the prompts: the words are in `no_input.yaml`."""

from __future__ import annotations

import functools
import re
import unicodedata
from pathlib import Path

import msgspec

EDGES = " \t\n*_`.。!！।"
"""What may be around such words."""
BRACKETED = re.compile(r"[<(\[{（【「]\s*([^<>()\[\]{}（）【】「」]*?)\s*[>)\]}）】」]")
_LONGEST = 100
_ALONE = ("noinput", "n/a")
"""Single words that are hardly an input of their own."""


@functools.cache
def words() -> dict[str, tuple[str, ...]]:
    """Return the words by language."""
    return msgspec.yaml.decode(Path(__file__).with_suffix(".yaml").read_bytes(), type=dict[str, tuple[str, ...]])


@functools.cache
def _all_words() -> frozenset[str]:
    return frozenset().union(*words().values())


def stands_for_no_input(text: str) -> bool:
    """Return whether the input of a dataset's row only says that there is none. A single word may be a real input.

    >>> [stands_for_no_input(text) for text in ("<noinput>", "No input.", "(none)", "none", "12")]
    [True, True, True, False, False]
    """
    bare = text.strip(EDGES) if len(text) <= _LONGEST else ""
    bracketed = BRACKETED.fullmatch(bare)
    said = plain(bracketed[1].strip(EDGES) if bracketed else bare)
    if said not in _all_words():
        return False
    return bracketed is not None or said in _ALONE or is_phrase(said)


def plain(text: str) -> str:
    """Return a text in lower case with single spaces."""
    return " ".join(text.casefold().split())


def is_phrase(text: str) -> bool:
    """Return whether a text is more than a word that may mean something else."""
    return " " in text or (len(text) > 2 and not is_latin(text))


def is_latin(text: str) -> bool:
    """Return whether all letters of a text are Latin ones."""
    return all(unicodedata.name(letter, "").startswith("LATIN") for letter in text if letter.isalpha())
