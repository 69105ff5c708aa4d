"""Split texts into words, the units that ROUGE-L counts.

`tokenize` defines the words. `encode` prepares a text for the compiled splitter of the index, which must return the
same words: it splits bytes at everything that is not an ASCII letter, a digit or a byte of a non-ASCII character.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from operator import add

from selfinstruct.records import Tokenizer

_ASCII_WORD = re.compile(r"[a-z0-9]+")
# A letter or digit that rouge_score's tokenizer drops (`\w` is str.isalnum() or "_").
_BEYOND_ASCII = re.compile(r"[^\W\x00-\x7f]")
# Scripts written without spaces. Otherwise a Chinese or Thai sentence would be one word, and only an identical sentence
# would be a near-duplicate.
_NO_SPACES = "".join(
    (
        "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff",  # Thai, Lao, Burmese, Khmer
        "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f\U0001b000-\U0001b16f",  # kana
        "\u3100-\u312f\u31a0-\u31bf\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff",  # ideographs
    )
)
_UNSPACED = re.compile(f"[{_NO_SPACES}]")
# Invisible characters inside words: soft hyphen, joiners, marks of direction, variation selectors.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u200c-\u200f\u202a-\u202e\u2060-\u2069\ufe00-\ufe0f\ufeff\U000e0100-\U000e01ef]"
)


def tokenize(text: str, tokenizer: Tokenizer = "words") -> list[str]:
    """Return the words of a text, lower-cased.

    A text without letters or digits outside ASCII gets `rouge_score`'s default tokens (runs of a-z0-9). That tokenizer
    would split or drop the words of any other text. So such a text is split as a whole into Unicode words: runs of
    letters, digits and their combining marks, in normal form C.

    Args:
        text: the text.
        tokenizer: what happens in scripts written without spaces. `words`: each two neighbouring characters are a word,
            which is about as strict as words are in English. `characters`: each character is a word. `rouge_score`: all
            letters outside a-z are dropped, in every script.

    >>> tokenize("Don't panic!"), tokenize("Größe zählt"), tokenize("写首诗 ok")
    (['don', 't', 'panic'], ['größe', 'zählt'], ['写首', '首诗', 'ok'])
    >>> tokenize("写首诗 ok", "characters")
    ['写', '首', '诗', 'ok']
    """
    return list(_words(text, tokenizer))


@functools.lru_cache(maxsize=64)
def _words(text: str, tokenizer: Tokenizer) -> tuple[str, ...]:
    """Return the words of a text, which several filters look at one after the other."""
    lowered, only_ascii = _lowered(text, tokenizer)
    if only_ascii:
        return tuple(_ASCII_WORD.findall(lowered))
    # "İ" is "i" and a dot in lower case, which no "i" of the same word in lower case has.
    visible = _INVISIBLE.sub("", lowered.replace("i\u0307", "i"))
    word_or_character, run_or_word = _unicode_patterns()
    if tokenizer == "characters" or not _UNSPACED.search(visible):
        return tuple(word_or_character.findall(visible))
    words: list[str] = []
    for run, word in run_or_word.findall(visible):
        characters = run if run.isalnum() else word_or_character.findall(run)  # Marks are not alphanumeric.
        words += map(add, characters, characters[1:]) if len(characters) > 1 else [run or word]
    return tuple(words)


def encode(text: str, tokenizer: Tokenizer = "words") -> bytes:
    """Return bytes that the compiled splitter, which lower-cases ASCII, splits into the words of `tokenize`."""
    if text.isascii():
        return text.encode("ascii")
    lowered, only_ascii = _lowered(text, tokenizer)
    if only_ascii:
        return lowered.encode("ascii", "replace")  # "?" separates words as the replaced character does.
    return " ".join(tokenize(text, tokenizer)).encode("utf-8", "surrogatepass")


def _lowered(text: str, tokenizer: Tokenizer) -> tuple[str, bool]:
    """Return a text in lower case, and whether only its letters and digits in ASCII count."""
    if text.isascii() or tokenizer == "rouge_score":
        return text.lower(), True
    text = unicodedata.normalize("NFC", text)
    return text.lower(), not _BEYOND_ASCII.search(text)


@functools.cache
def _unicode_patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return two patterns: of a word or a character of scripts without spaces, and of a run of such or a word.

    They are made on first use: 0x21000 characters are checked for marks (10 ms). `\\w` does not match marks (Devanagari
    vowel signs, combining accents), so `re` would split words at them.
    """
    marks, first = [], None
    for code in (*range(0x300, 0x20000), *range(0xE0100, 0xE01F1)):
        is_mark = unicodedata.category(chr(code))[0] == "M"
        if is_mark and first is None:
            first = code
        elif not is_mark and first is not None:
            marks.append(f"{chr(first)}-{chr(code - 1)}" if code - 1 > first else chr(first))
            first = None
    mark = "[" + "".join(marks) + "]"
    letter = f"[^\\W_{_NO_SPACES}]"
    word, character = f"{letter}(?:{letter}|{mark})*", f"(?=\\w)[{_NO_SPACES}]{mark}*"
    return re.compile(f"{character}|{word}"), re.compile(f"((?:{character})+)|({word})")


def may_hold(text: str, words: frozenset[str]) -> bool:
    """Return whether a text may hold one of these words in ASCII and in lower case; False: it surely does not.

    A text is split into words once, and to look them up takes a tenth of the time of a pattern that begins with one of
    them. A text beyond ASCII may hold any: for a pattern that ignores case, "ſ" is an "s".
    """
    return not text.isascii() or not words.isdisjoint(_words(text, "words"))


def is_unspaced(character: str) -> bool:
    """Return whether a character belongs to a script written without spaces."""
    return _UNSPACED.match(character) is not None


def has_unspaced(text: str) -> bool:
    """Return whether a text holds a character of a script written without spaces."""
    return not text.isascii() and _UNSPACED.search(text) is not None


def text_key(text: str) -> str:
    """Return the key of a text without words: two such texts are identical if only case and spacing differ."""
    return " ".join(unicodedata.normalize("NFC", text).lower().split())
