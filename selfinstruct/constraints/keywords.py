"""Constraints on words that an answer must hold."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Any

from selfinstruct.constraints.kind import ConstraintType, number
from selfinstruct.constraints.measures import count_of, words

WORDS = (
    "morning water window simple garden careful people reason quiet bridge future small music winter together "
    "practice bright journey honest market weather story balance friend energy patient corner useful evening kitchen "
    "mountain answer paper travel common lesson"
).split()
"""Plain words that can be worked into an answer to anything."""

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def _is_long(word: str, letters: int) -> bool:
    return sum(map(str.isalpha, word)) >= letters


def _often(rng: random.Random) -> Mapping[str, Any]:
    return {"word": rng.choice(WORDS), "n": rng.randrange(2, 4)}


TYPES = (
    ConstraintType(
        "keywords/word",
        lambda text, word: count_of(text, word) > 0,
        lambda rng: {"word": rng.choice(WORDS)},
        (
            'Use the word "{word}".',
            'The word "{word}" has to occur in your answer.',
            'Work the word "{word}" into it.',
        ),
        ("words",),
        ("keywords:existence",),
    ),
    ConstraintType(
        "keywords/all_words",
        lambda text, words: all(count_of(text, word) > 0 for word in words),
        lambda rng: {"words": rng.sample(WORDS, 2)},
        (
            "Use the words {words}.",
            "Both {words} have to occur in your answer.",
            "Find a place for the words {words}.",
        ),
        ("words",),
        ("keywords:existence",),
        variant_of="keywords/word",
    ),
    ConstraintType(
        "keywords/word_often",
        lambda text, word, n: count_of(text, word) >= n,
        _often,
        (
            'Use the word "{word}" at least {n} times.',
            'The word "{word}" should be there {n} times or more.',
            'Say "{word}" no fewer than {n} times.',
        ),
        ("words",),
        ("keywords:frequency",),
    ),
    ConstraintType(
        "keywords/word_once",
        lambda text, word: count_of(text, word) == 1,
        lambda rng: {"word": rng.choice(WORDS)},
        (
            'Use the word "{word}" exactly once.',
            'The word "{word}" must occur one time, not more.',
            'Mention "{word}" once and only once.',
        ),
        ("words",),
    ),
    ConstraintType(
        "keywords/digits",
        lambda text, n: len(_NUMBER.findall(text)) >= n,
        number(2, 4),
        (
            "Give at least {n} numbers, written in digits.",
            "There should be {n} or more numbers in digits in your answer.",
            "Name no fewer than {n} figures, in digits.",
        ),
        ("letters",),
        without=lambda text, n: _NUMBER.sub("", text),
    ),
    ConstraintType(
        "keywords/for_example",
        lambda text: count_of(text, "for example") > 0 or count_of(text, "for instance") > 0,
        lambda _: {},
        (
            'Give an example that you introduce with "for example" or "for instance".',
            'Say "for example" or "for instance" somewhere.',
            'Include an example; the words "for example" or "for instance" should show it.',
        ),
        ("words",),
        without=lambda text: re.sub(r"\bfor (?:example|instance)\b", "", text, flags=re.I),
    ),
    ConstraintType(
        "keywords/long_word",
        lambda text, n: any(_is_long(word, n) for word in words(text)),
        number(11, 13),
        (
            "Use at least one word of {n} letters or more.",
            "One of your words must have no fewer than {n} letters.",
            "Somewhere there should be a word with {n} or more letters.",
        ),
        ("letters",),
        without=lambda text, n: " ".join(word for word in words(text) if not _is_long(word, n)),
    ),
)
