"""Constraints on small and capital letters."""

from __future__ import annotations

from selfinstruct.constraints.kind import ConstraintType, nothing, number
from selfinstruct.constraints.measures import lines, sentences, words


def _letters(text: str) -> list[str]:
    return [character for character in text if character.isalpha()]


def _begins_large(text: str) -> bool:
    return (letters := _letters(text)) == [] or not letters[0].islower()


TYPES = (
    ConstraintType(
        "case/lower",
        lambda text: any(map(str.islower, text)) and not any(map(str.isupper, text)),
        nothing,
        (
            "Write everything in lower case.",
            "Use small letters only, no capital letters.",
            "There must be no capital letter in your answer.",
        ),
        ("case",),
        ("change_case:english_lowercase",),
    ),
    ConstraintType(
        "case/upper",
        lambda text: any(map(str.isupper, text)) and not any(map(str.islower, text)),
        nothing,
        (
            "Write everything in capital letters.",
            "Use upper case throughout, no small letters.",
            "YOUR WHOLE ANSWER MUST BE IN CAPITALS, like this sentence's beginning.",
        ),
        ("case",),
        ("change_case:english_capital",),
    ),
    ConstraintType(
        "case/some_capitals",
        lambda text, n: sum(len(_letters(word)) > 1 and word.isupper() for word in words(text)) >= n,
        number(2, 4),
        (
            "Write at least {n} words wholly in capital letters.",
            "Stress {n} or more words by writing them in ALL CAPITALS.",
            "No fewer than {n} words should be in capital letters throughout.",
        ),
        ("case",),
        ("change_case:capital_word_frequency",),
    ),
    ConstraintType(
        "case/capital_line_starts",
        lambda text: all(_begins_large(line) for line in (*lines(text), *sentences(text))),
        nothing,
        (
            "Begin every line and every sentence with a capital letter.",
            "Each line and each sentence must start with a capital letter.",
            "No line and no sentence may begin with a small letter.",
        ),
        ("case",),
    ),
    ConstraintType(
        "case/no_shouting",
        lambda text: not any(len(_letters(word)) > 1 and word.isupper() for word in words(text)),
        nothing,
        (
            "Do not write any word wholly in capital letters.",
            "No word of two letters or more may be all in capitals.",
            "Avoid words in capitals, abbreviations included.",
        ),
        ("case",),
        ("change_case:capital_word_frequency",),
    ),
)
