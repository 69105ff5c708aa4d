"""Constraints on punctuation marks and quotation."""

from __future__ import annotations

import re

from selfinstruct.constraints.kind import ConstraintType, nothing, number

_COMMAS = frozenset(",，、،")
_PAIRS = {'"': '"', "“": "”", "„": "“", "«": "»", "「": "」", "『": "』"}
_QUOTED = re.compile(r"\"[^\"\n]+\"|“[^“”\n]+”|„[^„“\n]+“|«[^«»\n]+»|「[^「」\n]+」|『[^『』\n]+』")
_BRACKETS = re.compile(r"\([^()\n]+\)|（[^（）\n]+）")


def _wrapped(text: str) -> bool:
    return len(text) > 2 and _PAIRS.get(text[0]) == text[-1]


TYPES = (
    ConstraintType(
        "punctuation/no_commas",
        lambda text: _COMMAS.isdisjoint(text),
        nothing,
        (
            "Do not use any commas.",
            "Write without commas.",
            "There must not be a single comma in your answer.",
        ),
        ("punctuation", "start"),
        ("punctuation:no_comma",),
    ),
    ConstraintType(
        "punctuation/no_exclamation",
        lambda text: not any(mark in text for mark in "!！¡"),
        nothing,
        (
            "Do not use exclamation marks.",
            "Stay calm: no exclamation mark anywhere.",
            "Write without any exclamation mark.",
        ),
        ("punctuation", "start"),
    ),
    ConstraintType(
        "punctuation/exclamation",
        lambda text, n: sum(text.count(mark) for mark in "!！") >= n,
        number(2, 3),
        (
            "Use at least {n} exclamation marks.",
            "Show your joy with {n} or more exclamation marks.",
            "There should be no fewer than {n} exclamation marks.",
        ),
        ("punctuation",),
    ),
    ConstraintType(
        "punctuation/question",
        lambda text, n: sum(text.count(mark) for mark in "?？؟") >= n,
        number(1, 2),
        (
            "Ask the reader something: use {n} or more question marks.",
            "Include questions, with at least this many question marks: {n}.",
            "The number of question marks in your answer should be {n} or greater.",
        ),
        ("punctuation",),
    ),
    ConstraintType(
        "punctuation/brackets",
        lambda text, n: len(_BRACKETS.findall(text)) >= n,
        number(1, 2),
        (
            "Put a remark in round brackets (like this), {n} or more times.",
            "Use round brackets with some words in them at least this often: {n}.",
            "Your answer needs remarks in parentheses; their number should be {n} or more.",
        ),
        ("punctuation",),
    ),
    ConstraintType(
        "punctuation/semicolon",
        lambda text: any(mark in text for mark in ";；؛"),
        nothing,
        (
            "Use a semicolon at least once.",
            "There should be a semicolon in your answer.",
            "Join two of your clauses with a semicolon.",
        ),
        ("punctuation",),
    ),
    ConstraintType(
        "punctuation/wrapped_in_quotes",
        _wrapped,
        nothing,
        (
            "Put your whole answer in double quotation marks.",
            "The answer must begin and end with a double quotation mark.",
            "Quote the entire answer: a double quotation mark before it and one after it.",
        ),
        ("start", "end"),
        ("startend:quotation",),
    ),
    ConstraintType(
        "punctuation/quotation",
        lambda text: bool(_QUOTED.search(text)),
        nothing,
        (
            "Let something in your answer stand in double quotation marks.",
            "Quote at least one word or phrase, in double quotation marks.",
            'Use "double quotation marks" around something.',
        ),
        ("punctuation",),
    ),
)
