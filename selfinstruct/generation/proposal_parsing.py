"""Read the candidate instructions in an answer to the prompt `encode_proposal`.

A real completion (the prompt ended with "Task 9:"):

     Find the odd word out in the list.
    Task 10: Turn the following sentence into a question.
    Task 11: Give three reasons to learn a second lan
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence

from msgspec import Struct

from selfinstruct.generation.frame import Frame
from selfinstruct.generation.list_numbers import NUMBER, NumberForm, in_digits
from selfinstruct.generation.markers import BLANK, Line, Mark, frames_read, mark_reader, scan, split_lines
from selfinstruct.generation.parsing import TRUNCATED, ambiguous, one_line, strip_thinking
from selfinstruct.generation.remarks import is_about_list
from selfinstruct.records import Rejection, Style
from selfinstruct.run.lines import WrittenInstance

_WORD = r"[^\W\d_][^\d\n:：*#.()、|`\"]{0,30}?"
_NUMBERED = re.compile(
    rf"(?P<before>{BLANK}*+(?:[-*•>#]+{BLANK}++)?[(\[（【]?)(?P<bold>\*\*{BLANK}*+)?(?P<word>{_WORD})?{BLANK}*[#№]?"
    rf"(?P<number>\d{{1,3}})(?!\d)(?P<close>\*\*)?{BLANK}*+"
    rf"(?:[.:)\]](?!\d)|[：、．）。】]|(?P<dash>[-–—]|\Z))(?P<close_after>\*\*)?{BLANK}*+(?P<rest>.*)\Z",
    re.S,
)
_GAP = re.compile(
    rf"(?:(?<=[.!?…\"'”’)\]*`]){BLANK}++|(?<=[。！？；]){BLANK}*+)(?=(?:\*\*)?(?:{_WORD})?{BLANK}*[#№]?(?:\d{{1,3}}(?!\d)|{NUMBER}))"
)
_BOLD = re.compile(r"(?<!\w)\*\*(?=\S)(.+?)(?<=\S)\*\*(?!\w)")
_TITLE = re.compile(r"(?:\S+\s+){0,7}\S*[^\s.?!:;。？！：；]")


class ProposedText(Struct, frozen=True):
    """One candidate instruction as parsed.

    Attributes:
        text: the instruction.
        fault: why it must be rejected; filters are not asked.
        instance: the instance that it was proposed with, if it was.
    """

    text: str
    fault: Rejection | None = None
    instance: WrittenInstance | None = None


class _Number(Struct, frozen=True):
    """What opens an item of a list: "Task 9:", "**9.**", "任务9：".

    Attributes:
        number: the item's number.
        word: the word before it; empty if there is none.
        form: how the number is written.
        indent: width of the text before it.
        heading: whether it is written as a heading.
        bold_open: whether bold begins in it and does not end in it.
        rest: the line after it.
    """

    number: int
    word: str
    form: NumberForm
    indent: int
    heading: bool
    bold_open: bool
    rest: str


class _Item(Struct, frozen=True):
    """An item of the list: its number, and its paragraphs."""

    number: _Number
    paragraphs: list[list[Line[_Number]]]


def parse_proposal(
    text: str, *, truncated: bool, num_examples: int, num_new: int, style: Style, frame: Frame | None = None
) -> list[ProposedText]:
    """Split a completion into candidate instructions, in order.

    Args:
        text: the completion.
        truncated: whether it ended by length, so that its last item is cut.
        num_examples: instructions in the prompt; a completion-style answer begins with item `num_examples + 1`.
        num_new: items that the prompt asked for; a chat model's surplus items are kept as candidates like the others.
        style: the style of the prompt.
        frame: the words of the prompt; English if None.

    Returns:
        The candidates; an empty list when the answer holds none. Items without text are left out.
    """
    if style == "completion":
        text = f"Task {num_examples + 1}: {text.lstrip()}"
    else:
        text = strip_thinking(text)
    lines = split_lines(text)
    read = _reader(lines, num_examples + 1, frame)
    scanned, doubtful = scan(_one_item_a_line(lines, read), read, lambda number: True, lambda number: number.rest)
    items = _items(scanned)
    titled = _titled(items)
    proposed = []
    for item in items:
        body, complete, fault = _instruction(item, titled, frame)
        if item is items[-1]:
            body = _without_remark(body)
        written = _with_lines(body) or one_line(" ".join(line.text for line in body))
        if style == "chat" and "\n" not in written:
            written = _unwrap(f"**{written}" if item.number.bold_open else written)
        if item is items[-1] and doubtful:
            fault = ambiguous("items in a code fence that does not end")
        if item is items[-1] and truncated and not complete:
            fault = TRUNCATED
        if written:
            proposed.append(ProposedText(written, fault))
    return proposed


# ---------------------------------------------------------------------------------------- lines and items


def _reader(lines: Sequence[str], first: int, frame: Frame | None) -> Callable[[str], _Number | None]:
    """Return the function that reads the number at the beginning of a line.

    A word that is none for a task is read like one if the list begins with it and with the right number: models
    translate "Task" when the instructions are in another language.
    """
    frames = frames_read(frame)
    words = {word.casefold() for each in frames for word in (*each.task, *each.instruction)}
    for line in lines:
        number = _read_number(line, frames, words, any_word=True)
        if number is not None and number.number == first:
            words.add(number.word.casefold())
            break
    return functools.cache(functools.partial(_read_number, frames=frames, words=words))  # Most lines are read twice.


def _read_number(line: str, frames: tuple[Frame, ...], words: set[str], any_word: bool = False) -> _Number | None:
    line, form = in_digits(line, frames)
    match = _NUMBERED.match(line)
    if match is None:
        return None
    word = (match["word"] or "").strip()
    known = word.casefold() in words
    bold, closed, rest = bool(match["bold"]), bool(match["close"] or match["close_after"]), match["rest"]
    if closed and not bold:  # The bold belongs to the text: "9.**Name a river.**"
        closed, rest = False, line[match.start("close_after") :]
    if (word and not (known or any_word)) or (match["dash"] is not None and not word):
        return None
    heading = "#" in match["before"]
    return _Number(int(match["number"]), word, form, len(match["before"]), heading, bold and not closed, rest)


def _one_item_a_line(lines: Sequence[str], read: Callable[[str], _Number | None]) -> list[str]:
    """Break lines before an item that counts on in the middle of a line: "9. Name a river. 10. Name a lake."."""
    broken: list[str] = []
    last: _Number | None = None
    for line in lines:
        last = read(line) or last
        start = 0
        for gap in _GAP.finditer(line) if last else ():
            following = read(line[gap.end() : gap.end() + 80])
            counts_on = following and last and (following.word, following.number) == (last.word, last.number + 1)
            if following and counts_on and following.rest:
                broken.append(line[start : gap.start()])
                start, last = gap.end(), following
        broken.append(line[start:])
    return broken


def _items(lines: Sequence[Line[_Number]]) -> list[_Item]:
    """Return the items of the list; lines before the first belong to none."""
    numbers = [line.mark for line in lines if line.mark is not None]
    opening = iter(_opening(numbers))
    items: list[_Item] = []
    for line in lines:
        if line.mark is not None and next(opening):
            items.append(_Item(line.mark, [[]]))
            line = Line(line.mark.rest)
        if not items:
            continue
        if line.wraps or not (line.fenced or line.text.strip()):
            items[-1].paragraphs.append([])
        else:
            items[-1].paragraphs[-1].append(line)
    return [_Item(item.number, [lines for lines in item.paragraphs if lines]) for item in items]


def _opening(numbers: Sequence[_Number]) -> list[bool]:
    """Return which numbers open an item; the others belong to a numbered list inside an item.

    A number opens an item if it is greater than the one before it. A smaller number begins an inner list if the outer
    one goes on after it, and so does a bare number in a list that says "Task 9". A bare number opens none where the
    list writes its numbers in another form: "⑨" in "9.".
    """
    worded = any(number.word for number in numbers)
    same = len({number.number for number in numbers}) == 1
    last_place = {(bool(number.word), number.number): k for k, number in enumerate(numbers)}
    opening: list[bool] = []
    first, last, inner = 0, -1, -1
    for k, number in enumerate(numbers):
        n, bare = number.number, not number.word
        goes_on = last_place.get((not bare, last + 1), -1) > k
        if last < 0:
            first, opens = n, True
        elif bare and (number.form != numbers[0].form or n == inner + 1):
            opens = False
        elif bare and worded:
            opens = n == last + 1
        elif n > last or (bare and same):
            opens = True
        else:
            opens = not goes_on and not (bare and (n < first or number.indent > numbers[0].indent + 1))
        opening.append(opens)
        last, inner = (n, -1) if opens else (last, n)
    return opening


# ------------------------------------------------------------------------------------------ text of an item


def _titled(items: Sequence[_Item]) -> bool:
    """Return whether the items have titles, with the instructions in the paragraphs after them."""
    with_text = items[:-1] or items  # The last one may be cut, or have a remark after it.
    firsts = [item.paragraphs[0] for item in with_text if len(item.paragraphs) > 1]
    if not firsts or len(firsts) < len(with_text):
        return False
    titles = [lines[0].text.strip(" \t*_") for lines in firsts if len(lines) == 1]
    if len(titles) < len(firsts) or not all(map(_TITLE.fullmatch, titles)):
        return False
    capitals = all(word[0].isupper() for title in titles for word in title.split() if len(word) > 3)
    return all(item.number.heading for item in with_text) or capitals


def _instruction(
    item: _Item, titled: bool, frame: Frame | None
) -> tuple[Sequence[Line[_Number]], bool, Rejection | None]:
    """Return the lines of an item's instruction, whether something follows them in the item, and a fault.

    A blank line ends an instruction: a remark or another section of the list comes after it. So do the fields of an
    instance that the item holds as well.
    """
    read = mark_reader(frame)
    paragraphs = item.paragraphs[1:] if titled and len(item.paragraphs) > 1 else item.paragraphs
    lines = [line for paragraph in paragraphs for line in [*paragraph, None]]
    marks = [None if line is None or line.fenced else _field(read(line.text)) for line in lines]
    fields = [(k, mark) for k, mark in enumerate(marks) if mark is not None]
    start, instruction = next(((k, mark) for k, mark in fields if mark.kind == "task"), (0, None))
    if instruction is None and fields and fields[0][0] == 0:
        return paragraphs[0], True, ambiguous("fields without an instruction")
    if fields and fields[0][0] < start and fields[0][1].kind != "task":
        start, instruction = 0, None
    end = next((k for k, mark in fields if k > start and mark.kind != "task"), len(lines))
    body: list[Line[_Number]] = []
    for k in range(start, end):
        line = lines[k]
        if k == start and instruction is not None:
            rest = instruction.rest.strip()
            line = Line(rest.replace("**", "", 1) if instruction.bold_open else rest) if rest else None
        if line is not None:
            body.append(line)
        elif body:
            return body, any(lines[k:]), None
    return body, end < len(lines), None


def _without_remark(body: Sequence[Line[_Number]]) -> Sequence[Line[_Number]]:
    """Return the lines of the last instruction without a remark to the user: "I hope these tasks help!"."""
    return body[:-1] if len(body) > 1 and is_about_list(body[-1].text.strip()) else body


def _field(mark: Mark | None) -> Mark | None:
    return None if mark is None or mark.bullet or (mark.kind in ("task", "example") and mark.number) else mark


def _with_lines(body: Sequence[Line[_Number]]) -> str:
    """Return a text that holds code, with its line breaks and indentation; an empty text if it holds none."""
    if not body:
        return ""
    indents = [len(line.text) - len(line.text.lstrip()) for line in body[1:] if line.text.strip()]
    if not any(line.fenced for line in body) and all(indent <= indents[0] for indent in indents):
        return ""
    return "\n".join([body[0].text.strip(), *(line.text.rstrip() for line in body[1:])]).strip()


def _unwrap(text: str) -> str:
    """Strip the bold marks inside a line of a list, and the quotes, backticks or asterisks around it."""
    text = _BOLD.sub(r"\1", text).removeprefix("**").strip()
    for mark in ("*", '"', "`"):
        inside = text[1:-1]
        if len(text) > 2 and text.startswith(mark) and text.endswith(mark) and mark not in inside:
            text = inside.strip()
    return text
