"""Read the instances in an answer to the prompts `encode_input_first`, `encode_output_first` and `encode_input_only`.

A real input-first completion (the prompt ended with the task):        and an output-first one:

    Example 1                                                              Label: positive
    Input: The tram was late again.                                        Input: What a lovely evening!
    Output: Was the tram late again?
    Example 2                                                              Label: negative
    Input: She has read it.                                                Input: I want my money back.
    Output: Has she read it?

The first marks of an answer show its form, and only marks of that form count after them. The marks divide the answer
into examples, and an example into fields. Text between an example's mark and its output is its input, also
without a mark. Nothing is guessed: an example whose parts are not clear is returned with a fault, which says
why, and so is its neighbour if the mark between them may be ordinary text. The filter rejects both.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from operator import attrgetter

from msgspec import Struct, structs

from selfinstruct.generation.frame import Frame
from selfinstruct.generation.instance_parts import Part, parts_of, text_of
from selfinstruct.generation.markers import (
    Mark,
    all_frames,
    alternation,
    like_marks,
    mark_reader,
    scan,
    split_lines,
)
from selfinstruct.generation.parsing import TRUNCATED, ambiguous, one_line, strip_thinking
from selfinstruct.generation.placeholders import absent_input
from selfinstruct.generation.remarks import remark
from selfinstruct.no_input import is_latin
from selfinstruct.records import Rejection

_RULE = re.compile(r"\s*(?:-{3,}|\*{3,}|_{3,})\s*")
_NUMERAL = re.compile(
    r"\d+(?:st|nd|rd|th)?|\b(?:one|two|three|four|five|first|second|third|fourth|fifth|another|next|i{1,3}|iv|v)\b",
    re.I,
)
_LONGEST_TITLE = 60
"""Characters of a line that may announce an example."""
_TOKEN = re.compile(r"[a-z0-9\u00c0-\u024f]+|\w")


class ParsedInstance(Struct, frozen=True):
    """One instance as parsed; `fault` says why it must be rejected, whatever it holds."""

    input: str
    output: str
    fault: Rejection | None = None


@dataclass(slots=True)
class _Group:
    """The fields of one example, and its own mark if it has one."""

    head: Part | None
    fields: list[Part] = field(default_factory=list)

    @property
    def kinds(self) -> list[str]:
        return [part.kind for part in self.fields]

    @property
    def fault(self) -> Rejection | None:
        parts = [self.head, *self.fields] if self.head else self.fields
        return next((part.fault for part in parts if part.fault), None)

    def before(self) -> str:
        """Return the text between its own mark and its first field."""
        return self.head.body() if self.head else ""

    def has_lines_before(self) -> bool:
        """Return whether that text is more than a title beside the mark."""
        return self.head is not None and self.head.has_lines()


class _Answer(Struct, frozen=True):
    """An answer in parts.

    Attributes:
        groups: its examples.
        announced: whether only an announcement, which ends in a colon, comes before the first example.
        bounded: whether marks or numbers show where an example begins.
        has_inputs: whether any field is marked as an input.
        cut: whether its last field is cut.
        unmarked: its whole text, if no line of it opens as a mark; else empty.
        like_marks: whether lines of it are like marks that are not read: "[Input] a", "*Eingabe*: b".
    """

    groups: list[_Group]
    announced: bool
    bounded: bool
    has_inputs: bool
    cut: bool
    unmarked: str
    like_marks: bool


def parse_input_first(
    text: str, *, truncated: bool, frame: Frame | None = None, instruction: str | None = None, plain: bool = False
) -> list[ParsedInstance]:
    """Return the instances of an input-first completion, in order.

    Text before the first mark is not an instance. An input without an output gets an empty output, which the filter
    rejects.

    Args:
        text: the completion.
        truncated: whether it ended by length.
        frame: the words of the prompt; English if None.
        instruction: the task that was asked about; an answer that opens with another task is about that one.
        plain: whether a text without any mark is the output of a task without input: a chat model may just do the task.
    """
    answer = _read(text, truncated, frame, instruction)
    if plain and answer.unmarked:
        fault = ambiguous("lines like the marks of an input and an output") if answer.like_marks else None
        return [ParsedInstance("", answer.unmarked, TRUNCATED if truncated else fault)]
    return _finish(_input_first(answer), answer, frame)


def parse_output_first(
    text: str, *, truncated: bool, frame: Frame | None = None, instruction: str | None = None
) -> list[ParsedInstance]:
    """Return the instances of an output-first completion, in order.

    A label without an input makes an instance with an empty input. Several inputs under one label share the label. An
    answer that puts its inputs first is parsed as input-first.

    Args:
        text: the completion.
        truncated: whether it ended by length.
        frame: the words of the prompt; English if None.
        instruction: the task that was asked about.
    """
    answer = _read(text, truncated, frame, instruction)
    first = answer.groups[0] if answer.groups else _Group(None)
    inputs_first = first.kinds[:1] == ["input"] or (not answer.has_inputs and first.has_lines_before())
    return _finish(_input_first(answer) if inputs_first else _output_first(answer), answer, frame)


def parse_input_only(
    text: str, *, truncated: bool, frame: Frame | None = None, instruction: str | None = None
) -> list[ParsedInstance]:
    """Return the inputs of an input-only completion, in order, as instances with an empty output.

    An output that the model wrote all the same is left out. An input that only repeats the task is none.

    Args:
        text: the completion.
        truncated: whether it ended by length.
        frame: the words of the prompt; English if None.
        instruction: the task that was asked about.
    """
    answer = _read(text, truncated, frame, instruction)
    if answer.unmarked:
        return [ParsedInstance("", "")] if absent_input(answer.unmarked, frame) and not truncated else []
    last = answer.groups[-1].kinds if answer.groups else []
    inputs = [_inputs(group) for group in answer.groups]
    cut = answer.cut and last[-1:] in ([], ["input"])
    parsed = _finish(inputs, structs.replace(answer, cut=cut), frame)
    asked = _bare(instruction or "")
    return [structs.replace(one, input="") if asked and _bare(one.input) == asked else one for one in parsed]


# ----------------------------------------------------------------------------------- from lines to examples


def _read(text: str, truncated: bool, frame: Frame | None, instruction: str | None) -> _Answer:
    written = split_lines(strip_thinking(text))
    lines, doubtful = scan(written, mark_reader(frame, written), Mark.opens_text, attrgetter("rest"))
    parts, ended = parts_of(lines)
    if doubtful and not ended:
        parts[-1].fault = ambiguous("marks in a code fence that does not end")
    first = next((k for k, part in enumerate(parts) if part.kind not in ("", "task")), len(parts))
    intro, parts = parts[:first], parts[first:]
    last = parts[-1] if parts else Part(None)
    complete = ended or last.mark is None or (last.kind == "example" and not last.body())
    if not truncated and last.is_field:
        _take_remark(last)
    groups, bounded = _groups([part for part in parts if part.mark])
    _take_rules(groups, ended)
    if frame is None or not frame.mark:  # In a marked frame a line without its mark is text.
        _take_titles(groups, [line for part in intro for line in part.lines])
    if instruction is not None and any(_is_other_task(part, instruction) for part in intro):
        for group in groups:
            (group.head or group.fields[0]).fault = ambiguous("the answer opens with another task")
    before = [line.strip(" \t*_") for part in intro for line in part.lines if line.strip()]
    announced = not before or before[-1].endswith((":", "："))
    has_inputs = any(part.kind == "input" for part in parts)
    unmarked = "" if any(line.mark for line in lines) else "\n".join(written).strip()
    cut = truncated and not complete
    return _Answer(groups, announced, bounded, has_inputs, cut, unmarked, bool(unmarked) and like_marks(lines))


def _groups(parts: Sequence[Part]) -> tuple[list[_Group], bool]:
    """Return the examples of the parts, and whether marks of examples or numbers divide them.

    Without either, each field of the kind that comes first opens an example.
    """
    first = next((part.kind for part in parts if part.is_field), "")
    marked = any(part.kind == "example" for part in parts)
    numbered = any(part.kind == first and part.mark and (part.mark.item or part.mark.number) for part in parts)
    groups: list[_Group] = []
    for part in parts:
        if part.kind == "example":
            groups.append(_Group(part))
            continue
        begins = not marked and part.kind == first and (not numbered or _counts_on(part, groups))
        if begins or not groups:
            groups.append(_Group(None))
        groups[-1].fields.append(part)
    return groups, marked or numbered


def _counts_on(part: Part, groups: Sequence[_Group]) -> bool:
    mark, before = part.mark, groups[-1].fields[0].mark if groups else None
    return mark is None or before is None or bool(mark.item) or mark.number != before.number


def _take_remark(last: Part) -> None:
    """Take a remark to the user off the end of an answer."""
    *before, line = last.lines or [""]
    kind = remark(line.strip())
    if kind is None or not (any(map(str.strip, before)) or (last.mark and last.mark.rest.strip())):
        return
    if kind == "about examples":
        last.lines.pop()
    else:
        last.fault = ambiguous("its last line may be a remark to the user")


def _take_rules(groups: Sequence[_Group], ended: bool) -> None:
    """Take the lines that separate examples (`---`) off their ends."""
    for group in groups if ended else groups[:-1]:
        if group.fields:
            lines = group.fields[-1].lines
            while lines and (not lines[-1].strip() or _RULE.fullmatch(lines[-1])):
                lines.pop()


def _take_titles(groups: Sequence[_Group], before: Sequence[str]) -> None:
    """Take lines that announce the next example ("Example two") off the ends of examples that no mark divides.

    They are like the line above the first field, but for their number. A line that only speaks of an example is a
    fault.

    Args:
        groups: the examples.
        before: the lines before the first of them.
    """
    above = next((_shape(line) for line in reversed(before) if line.strip()), None)
    for group, following in pairwise(groups):
        last = group.fields[-1] if group.fields else None
        if last is None or following.head is not None:
            continue
        with_text = [k for k, line in enumerate(last.lines) if line.strip()]
        title = last.lines[with_text[-1]].strip() if with_text else ""
        is_all = len(with_text) == 1 and last.mark is not None and last.mark.is_bare()
        if not title or len(title) > _LONGEST_TITLE or is_all:
            continue
        if _shape(title) == above:
            del last.lines[with_text[-1] :]
        elif len(title.split()) <= 6 and _example_words().search(title):
            last.fault = ambiguous("its last line may announce the next example")


def _shape(line: str) -> str:
    """Return a line without the number that differs from one example to the next."""
    return one_line(_NUMERAL.sub("#", line)).casefold()


@functools.cache
def _example_words() -> re.Pattern[str]:
    words = {word for frame in all_frames() for word in frame.example}
    latin = {word for word in words if is_latin(word)}
    return re.compile(rf"(?<!\w)(?:{alternation(latin)})s?(?!\w)|{alternation(words - latin)}", re.I)


def _is_other_task(part: Part, instruction: str) -> bool:
    """Return whether a part repeats another task than the one that was asked about, even allowing for other words."""
    if part.kind != "task":
        return False
    repeated, asked = (set(_TOKEN.findall(text.casefold())) for text in (part.body(), instruction))
    return 2 * len(repeated & asked) < min(len(repeated), len(asked))


# ------------------------------------------------------------------------------- from examples to instances


def _input_first(answer: _Answer) -> list[list[ParsedInstance]]:
    """Return the instances of each example."""
    rows = [_input_and_output(answer, group) for group in answer.groups]
    for k, group in enumerate(answer.groups):
        if "output" not in group.kinds and "label" not in group.kinds:
            _doubt_neighbours(rows, k, answer)
    return rows


def _input_and_output(answer: _Answer, group: _Group) -> list[ParsedInstance]:
    match ["output" if kind == "label" else kind for kind in group.kinds]:
        case []:
            before = group.before()
            return [ParsedInstance(before, "", group.fault)] if before else []
        case ["input"]:
            before = f"{group.before()}\n" if group.has_lines_before() else ""
            return [ParsedInstance(before + group.fields[0].body(), "", group.fault)]
        case ["input", "output"]:
            task_input, written = (part.body() for part in group.fields)
            if not group.has_lines_before():
                return [ParsedInstance(task_input, written, group.fault)]
            return [ParsedInstance(f"{group.before()}\n{task_input}", written, ambiguous("text before its input"))]
        case ["output"]:
            written = group.fields[0].body()
            if group.head is None:
                return [ParsedInstance("", written, group.fault or _lonely(answer, group))]
            if not answer.has_inputs:
                return [ParsedInstance(group.before(), written, group.fault)]
            if not group.has_lines_before():
                return [ParsedInstance("", written, group.fault)]
            return [ParsedInstance(group.before(), written, ambiguous("text before its output"))]
        case _:
            return _unclear(group)


def _lonely(answer: _Answer, group: _Group) -> Rejection | None:
    """Return the fault of an output with neither an input nor an example's mark, if its input may be elsewhere."""
    if group is answer.groups[0] and not answer.announced:
        return ambiguous("text before its output")
    if not answer.bounded and len(answer.groups) > 1:
        return ambiguous("outputs without a mark between them")
    return None


def _inputs(group: _Group) -> list[ParsedInstance]:
    """Return the inputs of one example; text beside its mark is one, too."""
    fault = group.head.fault if group.head else None
    inputs = [part for part in group.fields if part.kind == "input"]
    if not inputs:
        return [ParsedInstance(group.before(), "", fault)]
    if group.has_lines_before():
        fault = ambiguous("text before its input")
    return [ParsedInstance(part.body(), "", part.fault or fault) for part in inputs]


def _bare(text: str) -> str:
    """Return a text without what may differ where it is repeated: case, white space, marks at its end."""
    return one_line(text).casefold().rstrip(" .!?:。！？：।؟")


def _output_first(answer: _Answer) -> list[list[ParsedInstance]]:
    """Return the instances of each example."""
    rows = [_labelled(answer, group) for group in answer.groups]
    for k, group in enumerate(answer.groups):
        if not group.fields:
            _doubt_neighbours(rows, k, answer)
    return rows


def _labelled(answer: _Answer, group: _Group) -> list[ParsedInstance]:
    match group.kinds:
        case []:
            before = group.before()
            return [ParsedInstance(before, "", group.fault)] if before else []
        case ["label" | "output", *kinds] if all(kind == "input" for kind in kinds):
            label, *inputs = group.fields
            body = label.body()
            word, _, more = body.partition("\n")  # A label is one line.
            word, more = word.strip(), text_of("", more.split("\n"), None)
            fault = group.fault
            if group.has_lines_before():
                fault = ambiguous("text before its label")
            if not (answer.has_inputs or answer.announced or group.head):
                fault = ambiguous("text before the first label")
            if more and answer.has_inputs:
                word, fault = body, ambiguous("text after its label")
            if not inputs:
                return [ParsedInstance("" if answer.has_inputs else more, word, fault)]
            return [ParsedInstance(part.body(), word, fault) for part in inputs]
        case _:
            return _unclear(group)


def _unclear(group: _Group) -> list[ParsedInstance]:
    """Return what can be read of an example whose fields are not those of one instance."""
    inputs = group.kinds.count("input")
    fault = ambiguous(f"one example with {inputs} inputs and {len(group.fields) - inputs} outputs, or the output first")
    parsed: list[ParsedInstance] = []
    pending = group.before()
    for part in group.fields:
        if part.kind == "input" and pending:
            parsed.append(ParsedInstance(pending, "", fault))
        if part.kind == "input":
            pending = part.body()
        else:
            parsed.append(ParsedInstance(pending, part.body(), fault))
            pending = ""
    return [*parsed, ParsedInstance(pending, "", fault)] if pending else parsed


def _doubt_neighbours(rows: list[list[ParsedInstance]], k: int, answer: _Answer) -> None:
    """Mark the examples beside an incomplete one as faulty, if its mark may be ordinary text of theirs.

    That is not so for an example's mark with an input after it, nor for the last one of an answer that is cut.
    """
    group = answer.groups[k]
    if not rows[k] or (group.head is not None and group.fields):
        return
    if answer.cut and k == len(rows) - 1 and (group.fields or not answer.has_inputs):
        return
    fault = ambiguous("a mark beside it may be ordinary text")
    for beside in (k - 1, k + 1):
        if 0 <= beside < len(rows):
            rows[beside] = [structs.replace(parsed, fault=parsed.fault or fault) for parsed in rows[beside]]


def _finish(rows: Sequence[Sequence[ParsedInstance]], answer: _Answer, frame: Frame | None) -> list[ParsedInstance]:
    """Return all instances. Mark the last one if it is cut; empty the inputs that only say that there is no input."""
    parsed = [instance for row in rows for instance in row]
    if parsed and answer.cut:
        parsed[-1] = structs.replace(parsed[-1], fault=TRUNCATED)
    sayings = [absent_input(instance.input, frame) for instance in parsed]
    some = any(instance.input and saying is None for instance, saying in zip(parsed, sayings, strict=True))
    return [
        structs.replace(instance, input="") if saying == "surely" or (saying == "perhaps" and not some) else instance
        for instance, saying in zip(parsed, sayings, strict=True)
    ]
