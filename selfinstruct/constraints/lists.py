"""Constraints on lists: bullets, numbers, none at all."""

from __future__ import annotations

import re

from selfinstruct.constraints.kind import ConstraintType, nothing, number

_BULLET = re.compile(r"^[ \t]*[-*•+][ \t]+\S", re.M)
_DASH = re.compile(r"^-[ \t]+\S", re.M)
_NUMBERED = re.compile(r"^[ \t]*(\d{1,3})[.)][ \t]+\S", re.M)


def _counts_up(text: str, n: int) -> bool:
    return [int(number) for number in _NUMBERED.findall(text)] == list(range(1, n + 1))


TYPES = (
    ConstraintType(
        "lists/bullets",
        lambda text, n: len(_BULLET.findall(text)) == n,
        number(3, 5),
        (
            "Give exactly {n} bullet points, each on a line that begins with * or -.",
            'Put the answer into {n} bullet points ("* " or "- " at the start of the line).',
            "Use a list of {n} bullets, each beginning with an asterisk or a dash.",
        ),
        ("layout",),
        ("detectable_format:number_bullet_lists",),
    ),
    ConstraintType(
        "lists/numbered",
        _counts_up,
        number(3, 5),
        (
            "Give a numbered list with {n} entries: 1., 2. and so on.",
            "Number your points from 1 to {n}, each on its own line.",
            "Answer in {n} numbered lines, beginning with 1.",
        ),
        ("layout", "letters"),
    ),
    ConstraintType(
        "lists/dashes_only",
        lambda text: all(_DASH.match(line) for line in text.split("\n") if line.strip()),
        nothing,
        (
            'Begin every line with "- ".',
            "Each line of the answer has to start with a dash and a space.",
            'Write only lines that start with "- ", nothing before or after them.',
        ),
        ("layout", "start", "end"),
    ),
    ConstraintType(
        "lists/none",
        lambda text: not _BULLET.search(text) and not _NUMBERED.search(text),
        nothing,
        (
            "Write running text, without bullets or numbered points.",
            "Do not use any list.",
            "No bullet points and no numbering, please.",
        ),
        ("layout",),
    ),
)
