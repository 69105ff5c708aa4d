"""Numbers that open a task and are not written in plain digits: "⑨", "9️⃣", "任务九：", "第9题：", "九、"."""

from __future__ import annotations

import functools
import re
from typing import Literal

from selfinstruct.generation.frame import Frame
from selfinstruct.generation.markers import BLANK, alternation
from selfinstruct.generation.numerals import HAN, HAN_DIGITS, SIGN, value_of

NUMBER = rf"(?:{SIGN}|{HAN}|第{BLANK}*(?:\d|{HAN}))"
"""How a number begins that `in_digits` may read."""

NumberForm = Literal["digits", "han", "sign"]
"""How a list writes its numbers: 9, 九 or ⑨."""


def in_digits(line: str, frames: tuple[Frame, ...]) -> tuple[str, NumberForm]:
    """Return a line with the number that opens it in digits, and how the number is written.

    A number in Chinese characters is one after a word for a task, in brackets, or before "、" and no other number:
    "一、二月" is text. All other lines stay as they are.

    Args:
        line: the line.
        frames: whose words are read.
    """
    match = _pattern(frames).match(line)
    if match is None:
        return line, "digits"
    before, rest = match["before"], line[match.end() :]
    if match["sign"]:
        return f"{before}{value_of(match['sign'])}、{rest}", "sign"
    if match["ordinal"]:
        number = re.search(rf"\d+|{HAN}", match["ordinal"])
        assert number is not None, "the pattern holds one"
        return f"{before}{frames[0].task[0]}{value_of(number[0])}{rest}", "digits"
    if match["word"]:
        return f"{before}{match['word']}{value_of(match['counted'])}{rest}", "digits"
    return f"{before}{value_of(match['bracketed'] or match['bare'])}{rest}", "han"


@functools.cache
def _pattern(frames: tuple[Frame, ...]) -> re.Pattern[str]:
    words = [word for frame in frames for word in (*frame.task, *frame.instruction, *frame.item)]
    ordinals = [form.split("{n}") for frame in frames for form in frame.ordinals]
    ordinal = "|".join(
        rf"{re.escape(before)}{BLANK}*+(?:\d{{1,3}}|{HAN}){BLANK}*+{re.escape(after)}" for before, after in ordinals
    )
    return re.compile(
        rf"(?P<before>{BLANK}*+(?:[-*•>#]+{BLANK}++)?(?P<bracket>[(\[（【])?(?:\*\*{BLANK}*+)?)"
        rf"(?:(?P<sign>{SIGN})(?:{BLANK}*+[.:)\]：、．）】])?"
        rf"|(?P<ordinal>{ordinal or '(?!)'})"
        rf"|(?P<word>(?i:{alternation(words)})){BLANK}*+(?P<counted>{HAN})"
        rf"|(?P<bracketed>(?(bracket){HAN}(?=[)\]）】])|(?!)))"
        rf"|(?P<bare>{HAN})(?=(?:\*\*)?、(?![〇零{HAN_DIGITS}十百千万])))"
    )
