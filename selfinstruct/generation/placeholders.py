"""Recognise what models write in place of a text: `<noinput>`, `None`, `[Your answer here]`.

What cannot be a text of its own, in brackets or in several words, is read in every language that has a frame. A single
word is read in the prompt's language and in English.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Literal

from selfinstruct.generation.frame import Frame
from selfinstruct.generation.markers import all_frames, frames_read
from selfinstruct.no_input import BRACKETED, EDGES, is_latin, is_phrase, plain

_WITH_ASIDE = re.compile(r"([^()（）]+?)\s*[(（]([^()（）]+)[)）]")
_ONLY_IN_BRACKETS = {"empty", "leer", "vacío", "vacía", "vide", "空", "فارغ", "खाली"}
_AROUND = 40
"""Characters around "no input needed" in a sentence that says so of the task."""
_ABSENT = re.compile(
    r"(?:there (?:is|are) )?no (?:specific |additional |further |explicit )?inputs?(?: (?:is|are))?"
    r"(?: (?:needed|required|necessary|provided|given))?(?: (?:for|in|by) (?:this|the) (?:task|example|instruction))?"
    r"|(?:this|the) (?:task|example|instruction|question) (?:does not|doesn't) (?:require|need|have|take) "
    r"(?:an |any )?(?:specific |additional |further )?inputs?"
    r"|inputs? (?:is |are )?not (?:needed|required|necessary|applicable|provided)",
    re.I,
)
_BLANK_TO_FILL = re.compile(
    r"no ?(?:output|input|answer|response)|(?:your|insert|enter|add|write|put|type|provide|fill in)\b.*"
    r"|.*\bgoes here|(?:the )?(?:output|input|answer|response|label|text|placeholder)(?: here)?"
    r"|\.{3}|…|blank|empty|tbd|todo",
    re.I,
)


def absent_input(text: str, frame: Frame | None) -> Literal["surely", "perhaps"] | None:
    """Return whether an input only says that there is none.

    "Perhaps" is the answer for a single word, such as "None", which may be a real input beside other real inputs.

    Args:
        text: the input.
        frame: the words of the prompt; English if None.
    """
    bare = text.strip(EDGES)
    if not bare or len(bare) > 100:
        return None
    if (bracketed := BRACKETED.fullmatch(bare)) is not None:
        inside = bracketed[1].strip(EDGES)
        return "surely" if inside and _says_none(inside, all_frames()) else None
    if (aside := _WITH_ASIDE.fullmatch(bare)) is not None:
        return "surely" if all(_says_none(part.strip(EDGES), all_frames()) for part in aside.groups()) else None
    if _ABSENT.fullmatch(bare):
        return "surely"
    if _says_so_of_the_task(bare):
        return "surely"
    if bare.casefold() in _ONLY_IN_BRACKETS or not _says_none(bare, frames_read(frame)):
        return None
    return "surely" if is_phrase(bare) else "perhaps"


def _says_none(text: str, frames: Sequence[Frame]) -> bool:
    text = plain(text)
    if text in ("null", "nil") or not text.strip("-–—") or _ABSENT.fullmatch(text) is not None:
        return True
    frames = all_frames() if is_phrase(text) or not is_latin(text) else frames
    return any(text in frame.no_input for frame in frames)


def _says_so_of_the_task(text: str) -> bool:
    """Return whether a sentence says of the task that it has no input: "Diese Aufgabe braucht keine Eingabe"."""
    text = plain(text)
    for words, phrases in _sentences():
        phrase_in_text = next((phrase for phrase in phrases if phrase in text), None)
        if phrase_in_text is not None and len(text) <= len(phrase_in_text) + _AROUND:
            before, _, after = text.partition(phrase_in_text)
            if any(word in before or word in after for word in words):
                return True
    return False


@functools.cache
def _sentences() -> list[tuple[list[str], list[str]]]:
    """Return for each language the words for a task, and the phrases that say that there is no input."""
    return [
        (
            [word.casefold() for word in (*frame.task, *frame.instruction, *frame.example)],
            [phrase for phrase in sorted(frame.no_input, key=len, reverse=True) if is_phrase(phrase)],
        )
        for frame in all_frames()
    ]


def is_placeholder(text: str) -> bool:
    """Return whether a text is only a placeholder for a text that is still to be written.

    >>> is_placeholder("<nooutput>"), is_placeholder("[Your answer here]"), is_placeholder("[1, 2]")
    (True, True, False)
    """
    bracketed = BRACKETED.fullmatch(text.strip(EDGES)) if len(text) <= 200 else None
    if bracketed is None:
        return False
    inside = plain(bracketed[1])
    return _BLANK_TO_FILL.fullmatch(inside) is not None or any(
        inside in whole or inside.startswith(frame.to_fill_in) or inside.endswith(frame.to_fill_in)
        for whole, frame in _to_fill_in()
    )


@functools.cache
def _to_fill_in() -> list[tuple[set[str], Frame]]:
    """Return for each language what is a placeholder if it is alone in brackets: "keine Ausgabe", "Antwort"."""
    return [
        (
            {word.casefold() for word in (*frame.input, *frame.output, *frame.label, *frame.answer, *frame.no_output)}
            | {said for said in frame.no_input if any(word.casefold() in said for word in frame.input)},
            frame,
        )
        for frame in all_frames()
    ]
