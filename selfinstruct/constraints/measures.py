"""Count the words, sentences, paragraphs and lines of an answer, in any script."""

from __future__ import annotations

import re

from selfinstruct.novelty.words import is_unspaced

_MARKER = re.compile(r"^[ \t]*(?:[-*•+]|\d{1,3}[.)]|#{1,6})[ \t]+")
_END = re.compile(r"[.!?…]+[\"'”’»)\]*_]*\s+|[。！？｡]+[」』”]*|[।॥؟]+\s*")
_ABBREVIATION = re.compile(
    r"(?:\b(?:[^\W\d_]|e\.g|i\.e|a\.m|p\.m|mr|mrs|ms|dr|prof|vs|cf|z\.b|bzw|ca|sr|sra))\.$", re.I
)
_FENCE = re.compile(r"^[ \t]*(?:`{3,}|~{3,})\w*[ \t]*$", re.M)


def words(text: str) -> list[str]:
    """Return the words of a text: what spaces separate, without the punctuation around it.

    In scripts written without spaces each character counts as a word, as it does in word processors.

    >>> words("Don't panic - it's 3.5 km!"), words("写首诗 ok")
    (["Don't", 'panic', "it's", '3.5', 'km'], ['写', '首', '诗', 'ok'])
    """
    tokens: list[str] = []
    for piece in text.split():
        word = ""
        for character in piece:
            if is_unspaced(character) and character.isalnum():
                tokens += [word, character]
                word = ""
            else:
                word += character
        tokens.append(word)
    return [bare for word in tokens if (bare := _bare(word))]


def _bare(word: str) -> str:
    """Return a word without the signs around it; marks that belong to a letter stay."""
    inside = [position for position, character in enumerate(word) if character.isalnum()]
    return word[inside[0] :].rstrip("\"'”’»)]}>*_`~.,;:!?…。、，！？；：।॥؟،-–—/") if inside else ""


def sentences(text: str) -> list[str]:
    """Return the sentences of a text: a line's end ends a sentence; an abbreviation and a decimal point do not.

    >>> sentences("Dr. Li waits. Why?\\n- She has 3.5 h")
    ['Dr. Li waits.', 'Why?', 'She has 3.5 h']
    """
    pieces: list[str] = []
    for line in lines(text):
        line = _MARKER.sub("", line)
        begin = 0
        for end in _END.finditer(line):
            if not _ABBREVIATION.search(line[begin : end.end()].rstrip()):
                pieces.append(line[begin : end.end()])
                begin = end.end()
        pieces.append(line[begin:])
    return [sentence for one in pieces if words(sentence := one.strip())]


def paragraphs(text: str) -> list[str]:
    """Return the paragraphs of a text, which empty lines separate."""
    return [part.strip() for part in re.split(r"\n[ \t]*\n", text) if words(part)]


def lines(text: str) -> list[str]:
    """Return the lines of a text that hold a word; fences of code are none."""
    return [line.strip() for line in _FENCE.sub("", text).split("\n") if words(line)]


def count_of(text: str, word: str) -> int:
    """Return how often a word or phrase is in a text, in any case; in scripts with spaces as a whole word."""
    left = "" if is_unspaced(word[0]) else r"(?<!\w)"
    right = "" if is_unspaced(word[-1]) else r"(?!\w)"
    return len(re.findall(left + re.escape(word.casefold()) + right, text.casefold()))
