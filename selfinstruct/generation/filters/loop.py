"""Texts in which a model repeats itself to the end, also after a good beginning.

An output that a small model wrote:

    The user can choose a colour. The user can choose a size. The user can choose a size. The user can choose a ...
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence

from selfinstruct.generation.filters.row import Row
from selfinstruct.novelty import tokenize
from selfinstruct.records import Rejection

_LONGEST_UNIT = 60
_LEAST_COPIES = 3
_LEAST_NUMBERED = 5
"""Of copies that differ in their numbers."""
_LEAST_WORDS = 24
"""Of all copies together: a shorter repetition is a figure of speech or a chorus."""
_LEAST_AT_THE_END = 12
_LEAST_LINES = 4
_WORDS_OF_A_LINE = 4
_SHARE_OF_LINES = 0.5
_LEAST_SIGNS = 100
_LEAST_SENTENCES = 3
_WORDS_OF_A_SENTENCE = 5
_SHARE_OF_WORDS = 0.2
_NUMBER = re.compile(r"\d+")
_WITH_A_REFRAIN = re.compile(
    r"\b(?:songs?|lyrics|poems?|chorus|refrain|chants?|hymns?|lullab(?:y|ies)|anthems?|rhymes?|jingles?|rap|ballads?"
    r"|lied|lieder|gedichte?|chansons?|poèmes?|canci[oó]n(?:es)?|poemas?)\b|歌|诗|詩|أغنية|قصيدة|गीत|कविता",
    re.I,
)
_BETWEEN_SENTENCES = re.compile(r"\n+|(?<=[.!?:。！？：])\s+")


def loop(row: Row) -> Rejection | None:
    """Reject a row whose output or input repeats one group of words again and again, or one line among others.

    An output may repeat no sentence either, unless a song or a poem is asked for. Numbers count as equal, so that a
    numbered list of one item is a loop. A group without letters is none: rows of a table, lists of numbers. The
    evidence is the group, the number of its copies, and the part of the row.
    """
    repeated, part = _repeated_in(row.output), "output"
    sentence = repeated_sentences(row.output) if repeated is None else None
    if sentence is not None and not _WITH_A_REFRAIN.search(row.instruction):
        repeated = sentence
    if repeated is None:
        repeated, part = _repeated_in(row.input), "input"
    if repeated is None:
        return None
    unit, copies = repeated
    return Rejection("loop", {"of": part, "repeated": unit[:200], "copies": copies})


def loop_in(instruction: str) -> Rejection | None:
    """Reject an instruction that repeats a group of words, or ends in one sign; the evidence is as for a row.

    Instructions hold material: logs with equal lines, poems, patterns to go on with, numbered lists. So copies that
    differ in their numbers, lines among others, and a short repetition at the end are none.
    """
    words = tokenize(instruction)
    repeated = _repeated(words, words, _LEAST_COPIES, at_the_end=_LEAST_WORDS) or repeated_signs(instruction)
    if repeated is None:
        return None
    unit, copies = repeated
    return Rejection("loop", {"of": "instruction", "repeated": unit[:200], "copies": copies})


def _repeated_in(text: str) -> tuple[str, int] | None:
    return repeated_words(tokenize(text)) or repeated_lines(text) or repeated_signs(text)


def repeated_words(words: Sequence[str]) -> tuple[str, int] | None:
    """Return the shortest group of words that follows itself again and again, and the number of its copies.

    >>> repeated_words("say it again and".split() + "and again it is the same to me".split() * 3)
    ('and again it is the same to me', 3)
    """
    repeated = _repeated(words, words, _LEAST_COPIES)
    if repeated is not None or not any(map(str.isdigit, words)):
        return repeated
    shapes = ["" if word.isdigit() else word for word in words]
    return _repeated(words, shapes, _LEAST_NUMBERED)


def _repeated(
    words: Sequence[str], shapes: Sequence[str], least: int, *, at_the_end: int = _LEAST_AT_THE_END
) -> tuple[str, int] | None:
    """Look for the group in the words' shapes, and return its words."""
    for period in _periods(shapes, least):
        equal = 0
        for k in range(period, len(shapes) + 1):
            if k < len(shapes) and shapes[k] == shapes[k - period]:
                equal += 1
                continue
            covered = equal + period
            few = at_the_end if k == len(shapes) else _LEAST_WORDS
            if covered >= max(least * period, few) and _speaks(shapes[k - period : k]):
                return " ".join(words[k - covered : k - covered + period]), covered // period
            equal = 0
    return None


def _periods(shapes: Sequence[str], least: int) -> list[int]:
    """Return the lengths that a group may have: three words come again at this distance, once for each further copy."""
    if not _comes_again(shapes):
        return []
    longest = min(_LONGEST_UNIT, len(shapes) // least)
    seen: dict[tuple[str, ...], list[int]] = {}
    distances: Counter[int] = Counter()
    for k, three in enumerate(_threes(shapes)):
        earlier = seen.setdefault(three, [])
        for before in reversed(earlier):
            if k - before > longest:
                break
            distances[k - before] += 1
        earlier.append(k)
    return sorted(period for period, n in distances.items() if n >= least - 1)


def _threes(words: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    return zip(words, words[1:], words[2:], strict=False)


def _comes_again(words: Sequence[str]) -> bool:
    """Return whether any three words come again in the same order; nearly never."""
    return len(set(_threes(words))) < len(words) - 2


def repeated_lines(text: str) -> tuple[str, int] | None:
    """Return the most frequent line of several words, and its copies, if it makes up half of such lines or more."""
    every = text.splitlines()
    if len(every) < _LEAST_LINES:
        return None
    shapes = [_NUMBER.sub("0", line.strip()) for line in every]
    lines = [shape for shape in shapes if len(tokenize(shape)) >= _WORDS_OF_A_LINE]
    line, copies = Counter(lines).most_common(1)[0] if lines else ("", 0)
    often = copies >= max(_LEAST_LINES, _SHARE_OF_LINES * len(lines))
    return (line, copies) if often and _speaks(tokenize(line)) else None


def repeated_sentences(text: str) -> tuple[str, int] | None:
    """Return the sentence that comes three times or more and holds a fifth of all words, and its copies.

    The copies can be anywhere: a list that says the same about each of its items.
    """
    if text.isascii() and not _comes_again(tokenize(text)):  # In other texts a part may have other words by itself.
        return None
    sentences = [tuple(tokenize(sentence)) for sentence in _BETWEEN_SENTENCES.split(text)]
    if len(sentences) < _LEAST_SENTENCES:
        return None
    words = sum(map(len, sentences))
    often = Counter(sentence for sentence in sentences if len(sentence) >= _WORDS_OF_A_SENTENCE)
    for sentence, copies in often.most_common():
        if copies < _LEAST_SENTENCES:
            return None
        if copies * len(sentence) >= _SHARE_OF_WORDS * words and _speaks(sentence):
            return " ".join(sentence), copies
    return None


def repeated_signs(text: str) -> tuple[str, int] | None:
    """Return the sign that the text ends in a hundred times, such as an emoji; lines and digits are none."""
    text = text.rstrip()
    end = text[-1:]
    copies = (
        len(text) - len(text.rstrip(f"{end} ")) if end and unicodedata.category(end) in ("So", "Lo", "Ll", "Lu") else 0
    )
    return (end, copies) if copies >= _LEAST_SIGNS else None


def _speaks(unit: Sequence[str]) -> bool:
    """Return whether the group holds a word, and not mostly numbers."""
    words = [word for word in unit if word and not word.isdigit()]
    return 2 * len(words) > len(unit) and any(len(word) > 1 for word in words)
