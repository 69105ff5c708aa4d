"""Read what models write: the answers to the prompts of `prompts.py`.

A parser accepts the answers of both styles, `completion` and `chat`. Answers to questions are the exception:
`parse_answer` reads a base model's, and `strip_thinking` a chat model's.

Field markers count only at the start of a line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import takewhile, zip_longest

from selfinstruct.records import Style

_THINK = "think|thinking|reasoning"
_THINKING = re.compile(rf"<({_THINK})>.*?(?:</\1>|\Z)", re.S | re.I)
# A chat template may open the thinking block inside the prompt; then the answer holds only the end of the block.
_THINKING_TO_ITS_END = re.compile(rf"\A.*?</(?:{_THINK})>", re.S | re.I)
_LEADING_THINKING = re.compile(rf"{_THINKING_TO_ITS_END.pattern}|\A\s*<(?:{_THINK})>.*\Z", re.S | re.I)
_FENCED = re.compile(r"\A(.*?)^[ \t]*+```[\w-]*[ \t]*\n(.*)^[ \t]*+```[ \t]*$(.*)\Z", re.S | re.M)
_NO_INPUT = re.compile(
    r"no input(?: is)?(?: needed| required| necessary| provided)?"
    r"|none(?: needed| required)?|noinput|n/a|not applicable",
    re.I,
)
_EMPTY = re.compile(r"[<(\[]empty[>)\]]|[-–—]+", re.I)


def one_line(text: str) -> str:
    """Collapse all whitespace to single spaces, because a prompt lists one instruction per line."""
    return " ".join(text.split())


def strip_chat(text: str) -> str:
    """Remove what chat models put around an answer: thinking blocks (closed or not) and a code fence.

    >>> strip_chat("<think>Eight tasks...</think>\\nHere they are:\\n```\\n9. Name a river.\\n```\\nEnjoy!")
    '9. Name a river.'
    """
    text = _THINKING.sub("", text)
    text = _THINKING_TO_ITS_END.sub("", text)
    fenced = _FENCED.match(text)
    if fenced is not None:
        before, inside, after = fenced.groups()
        # A fence after a marker is part of an item or a field, for example its code.
        if not any(mark.search(outside) for mark in (_ITEM, _FIELD) for outside in (before, after)):
            text = inside
    return text.strip()


# --------------------------------------------------------------------------------------------- proposal
#
# A real completion (the prompt ended with "Task 9:"):
#
#      Find the odd word out in the list.
#     Task 10: Turn the following sentence into a question.
#     Task 11: Give three reasons to learn a second lan


@dataclass(frozen=True, slots=True)
class ProposedText:
    """One candidate instruction as parsed; `truncated` says that the completion was cut inside it."""

    text: str
    truncated: bool = False


_ITEM = re.compile(
    r"^[ \t]*+(?:[-*•>#]+[ \t]++)?(?P<bold>\*\*[ \t]*+)?(?P<task>(?i:task)[ \t]*+)?#?(?P<number>\d{1,3})"
    r"(?(bold)(?:\*\*)?)[ \t]*+(?:[.:)](?!\d)|(?(task)(?:[-–—]|$)|(?!)))(?(bold)(?:\*\*)?)[ \t]*+",
    re.M,
)
_BOLD = re.compile(r"(?<!\w)\*\*(?=\S)(.+?)(?<=\S)\*\*(?!\w)")
_LABELLED = re.compile(r"\A(?:\*\*)?(?:Task|Instruction|Prompt)(?:\*\*)?[ \t]*:[ \t]*(?:\*\*)?[ \t]*", re.I)


def parse_proposal(text: str, *, truncated: bool, num_examples: int, num_new: int, style: Style) -> list[ProposedText]:
    """Split a completion into candidate instructions, in order.

    Args:
        text: the completion.
        truncated: whether it ended by length, so that its last item is cut.
        num_examples: instructions in the prompt; a completion-style answer begins with item `num_examples + 1`.
        num_new: items that the prompt asked for; a chat model's surplus items are kept as candidates like the others.
        style: the style of the prompt.

    Returns:
        The candidates; an empty list when the answer holds none. Items without text are left out.
    """
    if style == "completion":
        text = f"Task {num_examples + 1}: {text.lstrip()}"
    else:
        text = strip_chat(text)
    marks = _items(text)
    proposed = []
    for mark, following in zip_longest(marks, marks[1:]):
        end = following.start() if following else len(text)
        # A blank line ends an item: a remark or another section of the list comes after it.
        body, *rest = re.split(r"\n[ \t]*\n", text[mark.end() : end].strip(), maxsplit=1)
        body = one_line(_LABELLED.sub("", body))
        if style == "chat":
            body = _unwrap(f"**{body}" if mark["bold"] and mark.group().count("**") == 1 else body)
        if body:
            proposed.append(ProposedText(body, truncated and following is None and not rest))
    return proposed


def _items(text: str) -> list[re.Match[str]]:
    """Return the marks that open an item.

    In an answer that says "Task 9", a bare number at the start of a line opens an item only if it is greater than the
    number before it. Otherwise it belongs to a numbered list inside the item.
    """
    marks = list(_ITEM.finditer(text))
    says_task = any(mark["task"] for mark in marks)
    opening, last = [], 0
    for mark in marks:
        number = int(mark["number"])
        if mark["task"] or not says_task or number > last:
            opening.append(mark)
            last = number
    return opening


def _unwrap(text: str) -> str:
    """Strip the bold marks inside a line of a list, and the quotes, backticks or asterisks around it."""
    text = _BOLD.sub(r"\1", text).removeprefix("**").strip()
    for mark in ("*", '"', "`"):
        inside = text[1:-1]
        if len(text) > 2 and text.startswith(mark) and text.endswith(mark) and mark not in inside:
            text = inside.strip()
    return text


# --------------------------------------------------------------------------------------- classification
#
# A real completion (the prompt ended with "Classification:"):
#
#      Yes

_ANSWER = re.compile(
    r"[\s\"'*`:.(\[-]*+(?:(?:classification|answer)\W*+)?(yes|no)\b(?!\s*(?:/|or\b)\s*(?:yes|no)\b)", re.I
)


def parse_classification(text: str) -> bool | None:
    """Return True for yes, False for no, None for anything else (which the reference code took for "no")."""
    answer = _ANSWER.match(strip_chat(text))
    return None if answer is None else answer.group(1).lower() == "yes"


# -------------------------------------------------------------------------------------------- instances
#
# A real input-first completion (the prompt ended with the task):        and an output-first one:
#
#     Example 1                                                              Label: positive
#     Input: The tram was late again.                                        Input: What a lovely evening!
#     Output: Was the tram late again?
#     Example 2                                                              Label: negative
#     Input: She has read it.                                                Input: I want my money back.
#     Output: Has she read it?


@dataclass(frozen=True, slots=True)
class ParsedInstance:
    """One instance as parsed; `truncated` says that the completion was cut inside it."""

    input: str
    output: str
    truncated: bool = False


_FIELD = re.compile(
    r"^[ \t]*+(?P<bullet>[-*•][ \t]++)?(?P<heading>#+[ \t]*+)?(?P<bold>\*\*)?"
    r"(?P<name>Example[ \t]+\d+(?:[ \t]*\([^)\n]*\))?|Input|Output|(?:Class[ \t]+)?[Ll]abel|Task(?:[ \t]+\d+)?)"
    r"(?(bold)(?:\*\*)?)[ \t]*+(?P<colon>:)?(?(colon)|(?=\n|\Z))(?(bold)(?:\*\*)?)[ \t]*+",
    re.M,
)
_RULE = re.compile(r"\n[ \t]*(?:-{3,}|\*{3,}|_{3,})\Z")


def _fields(text: str) -> list[tuple[str, str]]:
    """Return the marked fields of an answer in order, as (example | task | input | output | label, stripped text)."""
    marks = [
        m for m in _FIELD.finditer(text) if m["colon"] or m["heading"] or m["bold"] or m["name"].startswith("Example")
    ]
    # Either all fields are items of a bulleted list, or bullets are part of the fields' text.
    bulleted = next((bool(m["bullet"]) for m in marks if m["name"] in ("Input", "Output", "Label")), False)
    marks = [m for m in marks if bool(m["bullet"]) == (bulleted and not m["name"].startswith(("Example", "Task")))]
    names = ["label" if m["name"].lower().endswith("label") else m["name"].split()[0].lower() for m in marks]
    fields = []
    for k, (mark, name) in enumerate(zip(marks, names, strict=True)):
        following = marks[k + 1] if k + 1 < len(marks) else None
        body = text[mark.end() : following.start() if following else len(text)].strip()
        if mark["bold"] and mark.group().count("**") == 1:
            body = re.sub(r"\*\*[ \t]*$", "", body, count=1, flags=re.M)
        if following is not None and names[k + 1] in ("example", "task", "label"):
            body = _RULE.sub("", body).rstrip()
        fields.append((name, body))
    return fields


def _answer(text: str, truncated: bool) -> tuple[list[tuple[str, str]], bool]:
    """Return the fields before the next task, and whether the last of them is cut."""
    fields = _fields(strip_chat(text))
    own = list(takewhile(lambda field: field[0] != "task", fields))
    return own, truncated and len(own) == len(fields) and own[-1:] != [("example", "")]


def parse_input_first(text: str, *, truncated: bool) -> list[ParsedInstance]:
    """Return the instances of an input-first completion, in order.

    Text before the first marker is not an instance. An input without an output gets an empty output, which the filter
    rejects.
    """
    fields, cut = _answer(text, truncated)
    parsed: list[ParsedInstance] = []
    pending: str | None = None
    for name, body in fields:
        if name in ("input", "example") and pending is not None:
            parsed.append(ParsedInstance(pending, ""))
            pending = None
        if name == "input":
            pending = body
        elif name != "example":
            parsed.append(ParsedInstance(_no_input(pending or ""), body))
            pending = None
    if pending is not None:
        parsed.append(ParsedInstance(pending, ""))
    return _cut_last(parsed, cut)


def parse_output_first(text: str, *, truncated: bool) -> list[ParsedInstance]:
    """Return the instances of an output-first completion, in order.

    A label without an input makes an instance with an empty input. Several inputs under one label share the label. An
    answer that puts its inputs first is parsed as input-first.
    """
    fields, cut = _answer(text, truncated)
    if next((name for name, _ in fields if name != "example"), "") == "input":
        return parse_input_first(text, truncated=truncated)
    parsed: list[ParsedInstance] = []
    label: str | None = None
    used = True
    for name, body in fields:
        if name == "input":
            if label is not None:
                parsed.append(ParsedInstance(_no_input(body), label))
                used = True
            continue
        if not used:
            parsed.append(ParsedInstance("", label or ""))
        label, used = (None, True) if name == "example" else (body, False)
    if not used:
        parsed.append(ParsedInstance("", label or ""))
    return _cut_last(parsed, cut)


def _cut_last(parsed: list[ParsedInstance], cut: bool) -> list[ParsedInstance]:
    return [*parsed[:-1], replace(parsed[-1], truncated=True)] if parsed and cut else parsed


def _no_input(text: str) -> str:
    """Return an empty string for an input that only says that there is none."""
    return "" if _NO_INPUT.fullmatch(text.strip(" \t\n<>()[]*_.")) or _EMPTY.fullmatch(text) else text


# ----------------------------------------------------------------------------------------------- answer

_NEXT_FIELD = re.compile(r"\n[ \t]*(?:Example[ \t]+\d+[ \t]*:?[ \t]*(?:\n|\Z)|(?:Task|Input|Output)[ \t]*:)")


def parse_answer(text: str) -> str:
    """Return the answer in a completion: the text before the next field.

    >>> parse_answer(" Was the tram late?\\nExample 2\\nInput: She has")
    'Was the tram late?'
    """
    following = _NEXT_FIELD.search(text)
    return (text[: following.start()] if following else text).strip()


def strip_thinking(text: str) -> str:
    """Remove the thinking block that a model may write before its answer; all other text belongs to the answer.

    The block may lack its beginning (when the chat template opens it inside the prompt) or its end (when it was cut).

    >>> strip_thinking("<think>Capitals...</think>\\nParis."), strip_thinking("<think>Capitals, hm")
    ('Paris.', '')
    """
    return _LEADING_THINKING.sub("", text, count=1).strip()
