"""Constraints on words and letters that an answer must not hold."""

from __future__ import annotations

from selfinstruct.constraints.kind import ConstraintType, nothing
from selfinstruct.constraints.measures import count_of

COMMON = "very also many important however because good often can some most always".split()
"""Words that answers hold often."""
_FIRST_PERSON = ("i", "me", "my", "mine", "i'm", "i've", "i'd", "i'll", "i’m", "i’ve", "i’d", "i’ll")

TYPES = (
    ConstraintType(
        "forbidden/word",
        lambda text, word: not count_of(text, word),
        lambda rng: {"word": rng.choice(COMMON)},
        (
            'Do not use the word "{word}".',
            'Avoid the word "{word}".',
            'The word "{word}" must not occur.',
        ),
        ("words",),
        ("keywords:forbidden_words",),
    ),
    ConstraintType(
        "forbidden/words",
        lambda text, words: not any(count_of(text, word) for word in words),
        lambda rng: {"words": rng.sample(COMMON, 3)},
        (
            "Do without the words {words}.",
            "None of the words {words} may be used.",
            "Leave out the words {words} altogether.",
        ),
        ("words",),
        ("keywords:forbidden_words",),
        variant_of="forbidden/word",
    ),
    ConstraintType(
        "forbidden/letter",
        lambda text, letter: letter not in text.casefold(),
        lambda rng: {"letter": rng.choice("jkqvxz")},
        (
            'Do not use the letter "{letter}" at all.',
            'No word may contain the letter "{letter}".',
            'Avoid every word with the letter "{letter}" in it.',
        ),
        ("letters", "words", "start", "end"),
        ("keywords:letter_frequency",),
    ),
    ConstraintType(
        "forbidden/digits",
        lambda text: not any(map(str.isdigit, text)),
        nothing,
        (
            "Do not use any digits.",
            "Write all numbers in words, not in digits.",
            "There must be no digits in your answer.",
        ),
        ("letters", "layout"),
    ),
    ConstraintType(
        "forbidden/first_person",
        lambda text: not any(count_of(text, word) for word in _FIRST_PERSON),
        nothing,
        (
            'Do not speak of yourself: no "I", "me", "my" or "mine".',
            'Avoid the first person singular ("I", "me", "my", "mine").',
            'The words "I", "me", "my" and "mine" must not occur.',
        ),
        ("words", "language"),
    ),
)
