"""Split texts into words, the units that ROUGE-L counts.

`tokenize` defines the words. `encode` prepares a text for the compiled splitter of the index, which must return the
same words: it splits bytes at everything that is not an ASCII letter, a digit or a byte of a non-ASCII character.
"""

from __future__ import annotations

import functools
import re
import unicodedata

_ASCII_WORD = re.compile(r"[a-z0-9]+")
# A letter or digit that rouge_score's tokenizer drops (`\w` is str.isalnum() or "_").
_BEYOND_ASCII = re.compile(r"[^\W\x00-\x7f]")
# Scripts written without spaces: every character is a word, with its combining marks. Without this rule a Chinese or
# Thai sentence would be one word, and only an identical sentence would be a near-duplicate.
_NO_SPACES = "".join(
    (
        "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff",  # Thai, Lao, Burmese, Khmer
        "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f\U0001b000-\U0001b16f",  # kana
        "\u3100-\u312f\u31a0-\u31bf\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff",  # ideographs
    )
)


def tokenize(text: str) -> list[str]:
    """Return the words of a text, lower-cased.

    A text whose letters and digits, once lower-cased, are all in a-z0-9 gets `rouge_score`'s default tokens (runs of
    a-z0-9). That tokenizer would split or drop the words of any other text. So such a text is split as a whole into
    Unicode words: runs of letters, digits and their combining marks. In scripts written without spaces every character
    is a word.

    >>> tokenize("Don't panic!"), tokenize("Größe zählt"), tokenize("写诗 ok")
    (['don', 't', 'panic'], ['größe', 'zählt'], ['写', '诗', 'ok'])
    """
    lowered = text.lower()
    if lowered.isascii() or not _BEYOND_ASCII.search(lowered):
        return _ASCII_WORD.findall(lowered)
    return _unicode_word().findall(lowered)


def encode(text: str) -> bytes:
    """Return bytes that the compiled splitter, which lower-cases ASCII, splits into the words of `tokenize(text)`."""
    if text.isascii():
        return text.encode("ascii")
    lowered = text.lower()
    if not _BEYOND_ASCII.search(lowered):
        return lowered.encode("ascii", "replace")  # "?" separates words as the replaced character does.
    return " ".join(_unicode_word().findall(lowered)).encode("utf-8", "surrogatepass")


@functools.cache
def _unicode_word() -> re.Pattern[str]:
    """Return the pattern of a Unicode word. It is made on first use: it checks 0x21000 characters for marks (10 ms).

    `\\w` does not match marks (Devanagari vowel signs, combining accents), so `re` would split words at them.
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
    return re.compile(f"(?=\\w)[{_NO_SPACES}]{mark}*|{letter}(?:{letter}|{mark})*")


def text_key(text: str) -> str:
    """Return the key of a text without words: two such texts are identical if only case and spacing differ."""
    return " ".join(text.lower().split())
