"""Lines of an answer, and what opens them: `Task 9:`, `**Input:**`, `1. Output：`, and code fences.

Both parsers read an answer line by line, once. A mark inside a code fence is text, unless the fence is only wrapped
around the answer or around one of its examples.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, Literal, TypeVar

from msgspec import Struct

from selfinstruct.generation.frame import LANGUAGES, Frame, load_frame
from selfinstruct.generation.numerals import HAN, SIGN, value_of

WITHOUT_WIDTH = "\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
"""Characters that are not seen: joiners, marks of direction, and the byte order mark."""
BLANK = rf"[ \t\u00a0\u202f\u3000{WITHOUT_WIDTH}]"
COLON = "[:：]"
_FENCE = re.compile(rf"{BLANK}*+(?P<fence>`{{3,}}+|~{{3,}}+)[ \t]*+(?P<info>[^`]*)\Z")

Kind = Literal["task", "example", "input", "output", "label"]


class Mark(Struct, frozen=True):
    """What opens a line of an answer that holds instances.

    Attributes:
        kind: what follows.
        number: its number, in digits or as a letter ("2", "B"); empty if it has none.
        item: the number of the list item that it opens, as in "1. Input:"; empty if it opens none.
        bullet: whether a bullet is before it.
        lower: whether it is written in small letters.
        bold_open: whether bold begins in the mark and does not end in it.
        column: width of the indentation, bullet and number before the word.
        rest: the line after the mark.
    """

    kind: Kind
    number: str
    item: str
    bullet: bool
    lower: bool
    bold_open: bool
    column: int
    rest: str

    def opens_text(self) -> bool:
        """Return whether it opens a field, and not only an example or a task."""
        return self.kind in ("input", "output", "label")

    def is_bare(self) -> bool:
        """Return whether nothing follows it in its line."""
        return not self.rest.strip()


M = TypeVar("M")


class Line(Struct, Generic[M], frozen=True):
    """One line of an answer.

    Attributes:
        text: the line.
        mark: what opens it; None for text.
        fenced: whether it is in a code fence that is part of the text, or opens or ends one.
        wraps: for a fence around the answer or around an example: whether it opens or ends it.
    """

    text: str
    mark: M | None = None
    fenced: bool = False
    wraps: Literal["", "opens", "ends"] = ""


def split_lines(text: str) -> list[str]:
    """Return the lines of an answer. A line may end as on Linux, on Windows or on old Macs."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def scan(
    lines: Sequence[str], read: Callable[[str], M | None], opens_text: Callable[[M], bool], rest: Callable[[M], str]
) -> tuple[list[Line[M]], bool]:
    """Read the lines of an answer.

    Args:
        lines: the lines.
        read: returns the mark that opens a line, or None.
        opens_text: whether a mark opens a text; a fence after it belongs to that text.
        rest: returns what follows a mark in its line.

    Returns:
        The lines, and whether a fence that never ends holds marks: then nobody knows what they are.
    """
    scanned: list[Line[M]] = []
    wrapper = inner = ""
    in_text = fresh = doubtful = False
    for k, text in enumerate(lines):
        fence = _FENCE.match(text)
        if inner:
            doubtful = doubtful or read(text) is not None
            scanned.append(Line(text, fenced=True))
            if fence is not None and _ends(fence, inner):
                inner, doubtful = "", False
        elif fence is not None:
            if wrapper and _ends(fence, wrapper) and not fresh:
                wrapper, in_text = "", False
                scanned.append(Line(text, wraps="ends"))
            elif not wrapper and not in_text and _holds_mark(lines, k, fence, read):
                wrapper = fence["fence"]
                scanned.append(Line(text, wraps="opens"))
            else:
                inner = fence["fence"]
                scanned.append(Line(text, fenced=True))
        else:
            mark = read(text)
            if mark is not None:
                in_text = opens_text(mark)
                opened = _FENCE.match(rest(mark)) if in_text else None
                inner = opened["fence"] if opened else ""
            scanned.append(Line(text, mark))
        if text.strip():
            last = scanned[-1].mark
            fresh = last is not None and opens_text(last) and not rest(last).strip()
    return scanned, bool(inner) and doubtful


def _ends(fence: re.Match[str], opened: str) -> bool:
    return fence["fence"].startswith(opened) and not fence["info"].strip()


def _holds_mark(lines: Sequence[str], opening: int, fence: re.Match[str], read: Callable[[str], object | None]) -> bool:
    for k in range(opening + 1, len(lines)):
        text = lines[k]
        if read(text) is not None:
            return True
        following = _FENCE.match(text)
        if following is not None and _ends(following, fence["fence"]):
            return False
    return False


def alternation(words: Iterable[str]) -> str:
    """Return a pattern that matches each of the words, the longest first."""
    unique = sorted({word.casefold(): word for word in words}.values(), key=len, reverse=True)
    return "|".join(rf"{BLANK}+".join(map(re.escape, word.split())) for word in unique)


@functools.cache
def all_frames() -> tuple[Frame, ...]:
    """Return the frames of all languages, for texts whose meaning does not depend on the prompt's language."""
    return tuple(load_frame(language) for language in LANGUAGES)


def frames_read(frame: Frame | None) -> tuple[Frame, ...]:
    """Return the frames whose words are read: the prompt's, and English, in which models often answer."""
    english = load_frame()
    return (english,) if frame is None or frame.language == english.language else (frame, english)


def mark_reader(frame: Frame | None, lines: Sequence[str] = ()) -> Callable[[str], Mark | None]:
    """Return the function that reads the mark at the beginning of a line of instances.

    Args:
        frame: the words of the prompt; English if None. If its words open a line as a heading does, and any of the
            lines does so, all other lines are text.
        lines: the answer.
    """
    read = functools.partial(_read_mark, *_mark_pattern(frames_read(frame)))
    if frame is None or not frame.mark:
        return read
    mark = frame.mark

    def read_marked(line: str) -> Mark | None:
        return read(line.removeprefix(mark)) if line.startswith(mark) else None

    return read_marked if any(map(read_marked, lines)) else read


@functools.cache
def _mark_pattern(frames: tuple[Frame, ...]) -> tuple[re.Pattern[str], dict[str, Kind]]:
    kinds: dict[str, Kind] = {}
    for frame in reversed(frames):  # The prompt's own words come last: they decide.
        by_kind: tuple[tuple[Kind, Sequence[str]], ...] = (
            ("task", (*frame.task, *frame.instruction)),
            ("label", frame.label),
            ("input", frame.input),
            ("output", frame.output),
            ("example", frame.example),
        )
        kinds.update({_key(word): kind for kind, words in by_kind for word in words})
    # One "#" is no heading: it is a comment in code, such as "# Output: 3".
    pattern = re.compile(
        rf"(?P<before>{BLANK}*+(?:>{BLANK}*+)?(?P<bullet>[-*•+–]{BLANK}++)?(?P<heading>\#{{2,6}}{BLANK}*+)?"
        rf"(?P<bold>\*\*|__)?"
        rf"(?:(?P<item>\d{{1,3}}(?={BLANK}*+[.)、．])|{HAN}(?=、)|{SIGN}){BLANK}*+[.)、．]?{BLANK}*+)?"
        rf"(?P<bold_after_item>\*\*|__)?)"
        rf"(?P<word>(?i:{alternation(kinds)}))"
        rf"(?:{BLANK}*+[#№]?(?P<number>{SIGN}|\d{{1,3}}|{HAN})(?!\w)|{BLANK}++(?P<letter>[A-Z])(?!\w))?+"
        rf"(?:{BLANK}*+[(（][^()（）]{{0,80}}[)）])?+"
        rf"(?P<close>\*\*|__)?{BLANK}*+(?P<colon>{COLON})?(?P<close_after_colon>\*\*|__)?{BLANK}?+(?P<rest>.*)\Z",
        re.S,
    )
    return pattern, kinds


def _key(word: str) -> str:
    return " ".join(word.split()).casefold()


def _read_mark(pattern: re.Pattern[str], kinds: dict[str, Kind], line: str) -> Mark | None:
    match = pattern.match(line)
    if match is None:
        return None
    number = str(value_of(match["number"])) if match["number"] else match["letter"] or ""
    kind, rest = kinds[_key(match["word"])], match["rest"]
    bold, closed = match["bold"] or match["bold_after_item"], match["close"] or match["close_after_colon"]
    if closed and not bold:  # The bold belongs to the text: "Output:**Yes**".
        if match["close"]:
            return None
        closed, rest = None, line[match.start("close_after_colon") :]
    if not match["colon"]:
        title = re.match(rf"[-–—.]{BLANK}+(?=\S)", rest) if kind == "example" and number else None
        if title is not None:
            rest = rest[title.end() :]
        elif rest.strip() or not (match["heading"] or bold or (kind == "example" and number)):
            return None
    if kind == "example" and not number and rest.strip():  # "Example: ..." is ordinary text.
        return None
    lower = match["word"][0].islower()
    column = next((match.start(name) for name in ("heading", "bold") if match[name]), len(match["before"]))
    bold_open = bool(bold and not closed)
    return Mark(kind, number, match["item"] or "", bool(match["bullet"]), lower, bold_open, column, rest)


def like_marks(lines: Sequence[Line[Mark]]) -> bool:
    """Return whether lines of an answer look like an input and an output under it, in marks that nobody reads.

    >>> like_marks([Line("<input>3</input>"), Line("<output>9</output>")]), like_marks([Line("Input devices are")])
    (True, False)

    Args:
        lines: the lines; those in code fences do not count.
    """
    text = "\n".join(line.text for line in lines if not line.fenced)
    inputs = ((first.search(text), then) for first, then in _like_marks_of_fields())
    return any(opened is not None and then.search(text, opened.end()) for opened, then in inputs)


@functools.cache
def _like_marks_of_fields() -> list[tuple[re.Pattern[str], re.Pattern[str]]]:
    """Return for each language the patterns of a line like an input's mark, and like an output's."""

    def pattern(words: Sequence[str]) -> re.Pattern[str]:
        beside = "(?:example|sample|expected)"
        ends = rf"(?:{BLANK}+{beside})?(?:[\"'’*_`]|{BLANK})*+(?:[:：=>\])}}】–—-]|$)"
        return re.compile(rf"^[^\w\n]*+_*+(?:{beside}{BLANK}+)?(?:{alternation(words)}){ends}", re.I | re.M)

    return [(pattern(frame.input), pattern((*frame.output, *frame.label))) for frame in all_frames()]
