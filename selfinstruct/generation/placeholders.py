"""Recognise what models write in place of a text: `<noinput>`, `None`, `[Your answer here]`."""

from __future__ import annotations

import re
from typing import Literal

from selfinstruct.generation.frame import Frame
from selfinstruct.generation.markers import frames_read

_BRACKETED = re.compile(r"[<(\[{（【「]\s*([^<>()\[\]{}（）【】「」]*?)\s*[>)\]}）】」]")
_WITH_ASIDE = re.compile(r"([^()（）]+?)\s*[(（]([^()（）]+)[)）]")
_EDGES = " \t\n*_`.。!"
_ONLY_IN_BRACKETS = {"empty"}
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
    bare = text.strip(_EDGES)
    if not bare or len(bare) > 100:
        return None
    if (bracketed := _BRACKETED.fullmatch(bare)) is not None:
        inside = bracketed[1].strip(_EDGES)
        return "surely" if inside and _says_none(inside, frame) else None
    if (aside := _WITH_ASIDE.fullmatch(bare)) is not None:
        return "surely" if all(_says_none(part.strip(_EDGES), frame) for part in aside.groups()) else None
    if _ABSENT.fullmatch(bare):
        return "surely"
    if bare.casefold() in _ONLY_IN_BRACKETS or not _says_none(bare, frame):
        return None
    return "surely" if " " in bare or (len(bare) > 2 and not bare.isascii()) else "perhaps"


def _says_none(text: str, frame: Frame | None) -> bool:
    words = {word for each in frames_read(frame) for word in each.no_input}
    text = " ".join(text.casefold().split())
    return text in words or text in ("null", "nil") or not text.strip("-–—") or _ABSENT.fullmatch(text) is not None


def is_placeholder(text: str) -> bool:
    """Return whether a text is only a placeholder for a text that is still to be written.

    >>> is_placeholder("<nooutput>"), is_placeholder("[Your answer here]"), is_placeholder("[1, 2]")
    (True, True, False)
    """
    bracketed = _BRACKETED.fullmatch(text.strip(_EDGES)) if len(text) <= 200 else None
    return bracketed is not None and _BLANK_TO_FILL.fullmatch(bracketed[1]) is not None
