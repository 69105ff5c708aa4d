"""Divide an answer that holds instances at its marks: which lines open a part, and which only look so."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from selfinstruct.generation.markers import WITHOUT_WIDTH, Line, Mark
from selfinstruct.generation.parsing import ambiguous
from selfinstruct.records import Rejection

_ENDS = " \t\n\u00a0\u3000" + WITHOUT_WIDTH
_LEADING_BLANK_LINES = re.compile(rf"\A(?:[ \t\u00a0\u3000{WITHOUT_WIDTH}]*+\n)+")


@dataclass(slots=True)
class Part:
    """A mark and the lines after it. A part without a mark belongs to no instance."""

    mark: Mark | None
    lines: list[str] = field(default_factory=list)
    fault: Rejection | None = None

    @property
    def kind(self) -> str:
        """Return the mark's kind; an empty text without one."""
        """Return the mark's kind; an empty text without one."""
        return self.mark.kind if self.mark else ""

    @property
    def is_field(self) -> bool:
        """Return whether it is an input, an output or a label."""
        """Return whether it is an input, an output or a label."""
        return self.mark is not None and self.mark.opens_text()

    def has_lines(self) -> bool:
        """Return whether there is text in the lines after that of the mark."""
        return any(line.strip() for line in self.lines)

    def body(self) -> str:
        """Return its text, with the indentation that is the text's own."""
        return text_of(self.mark.rest if self.mark else "", self.lines, self.mark)


Reading = Literal["mark", "text", "end", "unclear text", "unclear end"]


class _Form:
    """The form of an answer's fields, which the first of them show: bullets, letters, numbers, the output's word."""

    def __init__(self) -> None:
        self._form: tuple[bool, bool] | None = None
        self._output: str | None = None
        self._items: dict[str, bool] = {}

    def read(self, mark: Mark) -> Reading:
        """Return "mark" for a field that is written in the form of those before it."""
        form = (mark.bullet, mark.lower)
        self._form = self._form or form
        if form != self._form:
            return "text"
        if mark.kind != "input":
            self._output = self._output or mark.kind
            if mark.kind != self._output:
                return "unclear text" if mark.kind == "output" else "text"
        return "mark" if self._items.setdefault(mark.kind, bool(mark.item)) == bool(mark.item) else "text"


class _Reader:
    """Decides which marks of an answer open a part.

    An example's mark does if it counts on from the one before it, or if a field follows it. A task before the first
    field repeats the question. Later, it ends the answer if examples begin again after it.
    """

    def __init__(self, lines: Sequence[Line[Mark]]) -> None:
        self._lines = lines
        self._form = _Form()
        self._number = 0
        self._begun = False
        # For each line: the next mark of a field or an example after it, and whether it is the next text at all.
        self._following: list[tuple[Mark | None, bool]] = []
        following: tuple[Mark | None, bool] = (None, False)
        for line in reversed(lines):
            self._following.append(following)
            if line.mark is not None and line.mark.kind != "task":
                following = (line.mark, True)
            elif line.text.strip() and not line.wraps:
                following = (following[0], False)
        self._following.reverse()

    def read(self, k: int, mark: Mark) -> Reading:
        """Return what the mark in line k is."""
        if mark.kind == "task":
            return self._task(k, mark)
        if mark.kind == "example":
            return self._example(k, mark)
        reading = self._form.read(mark)
        self._begun = True
        return reading

    def _example(self, k: int, mark: Mark) -> Reading:
        following, adjacent = self._following[k]
        before_field = adjacent and following is not None and following.opens_text()
        number = _count(mark.number)
        counts_on = number is not None and (number == self._number + 1 or not self._begun)
        if mark.bullet or not (counts_on or before_field):
            return "text"
        self._number = self._number + 1 if number is None else number
        self._begun = True
        return "mark"

    def _task(self, k: int, mark: Mark) -> Reading:
        if not self._begun:
            return "mark"
        if mark.number or mark.bullet:
            return "text"
        following, _ = self._following[k]
        after_blank = k > 0 and not self._lines[k - 1].text.strip()
        if following is None:
            return "unclear text" if after_blank else "text"
        if following.kind == "example":
            return "text" if self._number and _count(following.number) == self._number + 1 else "end"
        return "end" if after_blank and not self._number else "unclear end"


def parts_of(lines: Sequence[Line[Mark]]) -> tuple[list[Part], bool]:
    """Return the parts of an answer, and whether another task ends it.

    The first part has no mark. What follows a fence around an example is a part without a mark too.
    """
    parts = [Part(None)]
    reader = _Reader(lines)
    for k, line in enumerate(lines):
        reading: Reading = "text" if line.mark is None else reader.read(k, line.mark)
        if reading == "mark":
            parts.append(Part(line.mark))
        elif line.wraps == "ends" or (line.wraps and not parts[-1].is_field):
            if parts[-1].is_field:
                parts.append(Part(None))
        elif reading in ("text", "unclear text"):
            parts[-1].lines.append(line.text)
        if reading.startswith("unclear"):
            parts[-1].fault = ambiguous(f"a line like the mark of another {line.mark.kind if line.mark else 'field'}")
        if reading.endswith("end"):
            return parts, True
    return parts, False


def _count(number: str) -> int | None:
    """Return the number of an example's mark: "2" and "B" are both the second."""
    if not number:
        return None
    return int(number) if number.isdecimal() else ord(number) - ord("A") + 1


def text_of(rest: str, lines: Sequence[str], mark: Mark | None) -> str:
    """Return a text from the line of its mark and the lines after it.

    Blank lines around it are no part of it. The indentation of its lines is, except for that of the mark.
    """
    lines = list(lines)
    if mark is not None and mark.column and all(line[: mark.column].isspace() for line in lines if line.strip()):
        lines = [line[mark.column :] for line in lines]
    if rest.strip(_ENDS):
        indented = next((line[:1].isspace() for line in lines if line.strip()), False)
        lines.insert(0, rest if indented else rest.lstrip(_ENDS))
    text = "\n".join(lines)
    if mark is not None and mark.bold_open:
        text = re.sub(r"\*\*[ \t]*$", "", text, count=1, flags=re.M)
    text = _LEADING_BLANK_LINES.sub("", text, count=1).rstrip(_ENDS)
    return text if "\n" in text else text.strip(_ENDS)
