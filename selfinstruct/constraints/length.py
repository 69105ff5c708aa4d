"""Constraints on the length of an answer: words, characters, sentences, paragraphs, lines."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from selfinstruct.constraints.kind import ConstraintType, number
from selfinstruct.constraints.measures import lines, paragraphs, sentences, words


def _between(rng: random.Random) -> Mapping[str, Any]:
    low = rng.randrange(20, 81, 10)
    return {"low": low, "high": low + rng.randrange(20, 51, 10)}


TYPES = (
    ConstraintType(
        "length/at_least_words",
        lambda text, n: len(words(text)) >= n,
        number(40, 120, 10),
        (
            "Write at least {n} words.",
            "The answer must not be shorter than {n} words.",
            "Take {n} words or more for it.",
        ),
        ("length",),
        ("length_constraints:number_words",),
    ),
    ConstraintType(
        "length/at_most_words",
        lambda text, n: len(words(text)) <= n,
        number(20, 80, 5),
        (
            "Use at most {n} words.",
            "Keep your answer to {n} words or fewer.",
            "Do not write more than {n} words.",
            "Your whole answer has to fit into {n} words.",
        ),
        ("length",),
        ("length_constraints:number_words",),
    ),
    ConstraintType(
        "length/words_between",
        lambda text, low, high: low <= len(words(text)) <= high,
        _between,
        (
            "Write between {low} and {high} words.",
            "The length should be from {low} to {high} words.",
            "Stay within {low} to {high} words.",
        ),
        ("length",),
        ("length_constraints:number_words",),
    ),
    ConstraintType(
        "length/at_most_characters",
        lambda text, n: len(text) <= n,
        number(150, 400, 50),
        (
            "Use no more than {n} characters, spaces included.",
            "The answer may have {n} characters at most.",
            "Make it short enough for a message of {n} characters.",
        ),
        ("length",),
    ),
    ConstraintType(
        "length/exact_sentences",
        lambda text, n: len(sentences(text)) == n,
        number(2, 5),
        (
            "Answer in exactly {n} sentences.",
            "Write {n} sentences, no more and no fewer.",
            "Your answer must consist of {n} sentences.",
        ),
        ("length",),
        ("length_constraints:number_sentences",),
    ),
    ConstraintType(
        "length/at_most_sentences",
        lambda text, n: len(sentences(text)) <= n,
        number(2, 4),
        (
            "Use at most {n} sentences.",
            "Answer in {n} sentences or fewer.",
            "Do not go beyond {n} sentences.",
        ),
        ("length",),
        ("length_constraints:number_sentences",),
    ),
    ConstraintType(
        "length/one_sentence",
        lambda text: len(sentences(text)) == 1,
        lambda _: {},
        (
            "Answer in a single sentence.",
            "Put everything into one sentence.",
            "One sentence only, please.",
        ),
        ("length",),
        ("length_constraints:number_sentences",),
        variant_of="length/exact_sentences",
    ),
    ConstraintType(
        "length/short_sentences",
        lambda text, n: all(len(words(sentence)) <= n for sentence in sentences(text)),
        number(15, 25, 5),
        (
            "No sentence may be longer than {n} words.",
            "Keep every sentence to {n} words at most.",
            "Use short sentences, none of them with more than {n} words.",
        ),
        ("length",),
    ),
    ConstraintType(
        "length/exact_paragraphs",
        lambda text, n: len(paragraphs(text)) == n,
        number(2, 4),
        (
            "Write exactly {n} paragraphs with an empty line between them.",
            "Divide your answer into {n} paragraphs, separated by empty lines.",
            "The answer should have {n} paragraphs; leave a line empty after each but the last.",
        ),
        ("length", "layout"),
        ("length_constraints:number_paragraphs",),
    ),
    ConstraintType(
        "length/one_paragraph",
        lambda text: "\n" not in text,
        lambda _: {},
        (
            "Write a single paragraph without line breaks.",
            "Give the answer as one paragraph, with no line breaks in it.",
            "Everything should stand in one paragraph; do not begin a new line.",
        ),
        ("layout",),
    ),
    ConstraintType(
        "length/exact_lines",
        lambda text, n: len(lines(text)) == n,
        number(3, 6),
        (
            "Write exactly {n} lines.",
            "Your answer should fill {n} lines, each with some text.",
            "Arrange the answer in {n} lines, one thought on each.",
        ),
        ("length", "layout"),
    ),
)
