"""Constraints on how an answer begins and ends."""

from __future__ import annotations

import re

from selfinstruct.constraints.keywords import WORDS
from selfinstruct.constraints.kind import ConstraintType, nothing
from selfinstruct.constraints.measures import words

_OPENINGS = (
    "In short,",
    "Here is my answer:",
    "Let me think.",
    "The short version:",
    "First of all,",
    "Good question!",
)
_CLOSINGS = ("That is all.", "I hope this helps.", "And so it goes.", "Now it is your turn.", "Thank you for asking.")
_POSTSCRIPT = re.compile(r"^[ \t*_]*(?:P\. ?S\.?|PS[:.]).*\w.*\Z", re.M | re.I)
_TITLE = re.compile(r"^[*_#\s]*Title:.*$", re.M | re.I)
_SIGNS = " \"'“”‘’*_`"


def _starts(text: str, phrase: str) -> bool:
    return text.lstrip(_SIGNS).casefold().startswith(phrase.casefold())


def _ends(text: str, phrase: str) -> bool:
    return text.rstrip(_SIGNS).casefold().endswith(phrase.casefold())


def _is(word: str, other: str) -> bool:
    return word.casefold() == other.casefold()


TYPES = (
    ConstraintType(
        "edges/starts_with",
        _starts,
        lambda rng: {"phrase": rng.choice(_OPENINGS)},
        (
            'Begin your answer with "{phrase}"',
            'The first words must be "{phrase}"',
            'Start with these words: "{phrase}"',
        ),
        ("start",),
    ),
    ConstraintType(
        "edges/ends_with",
        _ends,
        lambda rng: {"phrase": rng.choice(_CLOSINGS)},
        (
            'End your answer with "{phrase}"',
            'The last words must be "{phrase}" and nothing may follow them.',
            'Finish with this sentence: "{phrase}"',
        ),
        ("end",),
        ("startend:end_checker",),
    ),
    ConstraintType(
        "edges/first_word",
        lambda text, word: _is(words(text)[0], word) if words(text) else False,
        lambda rng: {"word": rng.choice(WORDS)},
        (
            'The first word of your answer must be "{word}".',
            'Begin with the word "{word}".',
            'Let "{word}" be the very first word.',
        ),
        ("start", "words"),
        variant_of="edges/starts_with",
    ),
    ConstraintType(
        "edges/last_word",
        lambda text, word: _is(words(text)[-1], word) if words(text) else False,
        lambda rng: {"word": rng.choice(WORDS)},
        (
            'The last word of your answer must be "{word}".',
            'End with the word "{word}".',
            'Let "{word}" be the very last word.',
        ),
        ("end", "words"),
        ("startend:end_checker",),
        variant_of="edges/ends_with",
    ),
    ConstraintType(
        "edges/ends_in_question",
        lambda text: text.rstrip(_SIGNS).endswith(("?", "？", "؟")),
        nothing,
        (
            "End with a question.",
            "The last sentence must be a question to the reader.",
            "Close your answer with a question mark.",
        ),
        ("end",),
    ),
    ConstraintType(
        "edges/postscript",
        lambda text: bool(_POSTSCRIPT.search(text)),
        nothing,
        (
            'Add a postscript at the end that begins with "P.S."',
            'The last line should be a postscript: "P.S." and a remark.',
            'Close with a line that starts with "P.S."',
        ),
        ("end",),
        ("detectable_content:postscript",),
        without=lambda text: _POSTSCRIPT.sub("", text),
    ),
    ConstraintType(
        "edges/title",
        lambda text: bool(re.match(r"[*_#\s]*Title:[*_\s]*\w.*\n", text, re.I)),
        nothing,
        (
            'Give the answer a title: its first line must begin with "Title:".',
            'Begin with a line "Title: ..." and write the answer below it.',
            'Put a title above the answer, on a line that begins with "Title:".',
        ),
        ("start", "layout"),
        ("detectable_format:title",),
        without=lambda text: _TITLE.sub("", text),
    ),
    ConstraintType(
        "edges/full_stop",
        lambda text: text.endswith((".", "。", "।")),
        nothing,
        (
            "The very last character must be a full stop.",
            "End with a full stop.",
            "Finish the answer with a full stop, not with another sign.",
        ),
        ("end",),
    ),
)
