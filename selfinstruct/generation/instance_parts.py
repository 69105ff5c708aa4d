"""Split an answer with instances into parts at its marks ("Input:", "Example 2").

A mark opens a part. Some lines look like a mark but are text.
"""

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
        """Return the kind of its mark; an empty text if it has no mark."""
        return self.mark.kind if self.mark else ""

    @property
    def is_field(self) -> bool:
        """Return whether it is an input, an output or a label."""
        return self.mark is not None and self.mark.opens_text()

    def has_lines(self) -> bool:
        """Return whether the lines after the line of the mark hold text."""
        return any(line.strip() for line in self.lines)

    def body(self) -> str:
        """Return its text. The text keeps its own indentation."""
        return text_of(self.mark.rest if self.mark else "", self.lines, self.mark)


Reading = Literal["mark", "text", "end", "unclear text", "unclear end"]


class _Form:
    """The form in which an answer writes its fields: bullets, lower case, numbers, "Output" or "Label".

    The first fields of the answer decide the form.
    """

    def __init__(self) -> None:
        self._form: tuple[bool, bool] | None = None
        self._output: str | None = None
        self._items: dict[str, bool] = {}

    def read(self, mark: Mark) -> Reading:
        """Return "mark" if the field has the form of the fields before it; otherwise how to read the line."""
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

    The mark of an example opens a part if its number follows that of the last example, or if a field follows the mark.
    The mark of a task before the first field repeats the question. After the first field, it ends the answer if
    examples begin again after it.
    """

    def __init__(self, lines: Sequence[Line[Mark]]) -> None:
        self._lines = lines
        self._form = _Form()
        self._number = 0
        self._begun = False
        # For each line: the next mark of a field or an example, and whether only blank lines are before that mark.
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
        """Return how to read the mark in line `k`."""
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
            counts_on = bool(self._number) and _count(following.number) == self._number + 1
            # Our prompts have the task right above its first example: the model begins the next task, and counts on.
            as_in_prompts = after_blank and self._lines[k + 1].mark is following
            return "text" if counts_on and not as_in_prompts else "end"
        return "end" if after_blank and not self._number else "unclear end"


def parts_of(lines: Sequence[Line[Mark]]) -> tuple[list[Part], bool]:
    """Return the parts of an answer, and whether another task ends it.

    The first part has no mark. Text after the end of a fenced example is also a part without a mark.
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
    """Return the position that the mark of an example names: 2 for "2" and for "B"; None without a number."""
    if not number:
        return None
    return int(number) if number.isdecimal() else ord(number) - ord("A") + 1


def text_of(rest: str, lines: Sequence[str], mark: Mark | None) -> str:
    """Return the text of a part.

    Blank lines before and after the text are removed. Lines keep their indentation, less that of the mark.

    Args:
        rest: the line of the mark, after the mark.
        lines: the lines after it.
        mark: the mark; None if the part has none.
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
