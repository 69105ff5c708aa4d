"""Constraints on the language of an answer."""

from __future__ import annotations

from selfinstruct.constraints.kind import ConstraintType
from selfinstruct.language_identification import identifier

_NAMES = {
    "German": "de",
    "French": "fr",
    "Spanish": "es",
    "Italian": "it",
    "Portuguese": "pt",
    "Dutch": "nl",
    "Russian": "ru",
    "Chinese": "zh",
    "Japanese": "ja",
    "Hindi": "hi",
    "Arabic": "ar",
}


def _written_in(text: str, language: str) -> bool:
    return bool(identifier().classify(text)[0] == _NAMES[language])


TYPES = (
    ConstraintType(
        "language/written_in",
        _written_in,
        lambda rng: {"language": rng.choice(sorted(_NAMES))},
        (
            "Answer in {language}.",
            "Write your answer in {language}, not in English.",
            "The whole answer has to be in {language}.",
        ),
        ("language", "words", "letters", "start", "end", "case"),
        ("language:response_language",),
    ),
)
