"""Read what models write: the answers to the prompts of `prompts.py`, but for instances (`instance_parsing.py`).

A parser accepts the answers of both styles, `completion` and `chat`. Answers to questions are the exception:
`parse_answer` reads a base model's, and `strip_thinking` a chat model's. Besides the words of the prompt's frame all
parsers read the English ones.

Marks count only at the start of a line and outside of code fences.
"""

from __future__ import annotations

import functools
import re
from itertools import pairwise
from operator import attrgetter

from selfinstruct.generation.frame import Frame
from selfinstruct.generation.markers import Mark, alternation, frames_read, mark_reader, scan, split_lines
from selfinstruct.records import Rejection

TRUNCATED = Rejection("truncated")
REPEATED = Rejection("repetition")
"""The fault of an answer that was ended because it only repeated itself."""


def ambiguous(why: str) -> Rejection:
    """Return the fault of a text that can be divided into its parts in more than one way."""
    return Rejection("ambiguous", {"why": why})


def fault_of(reason: str | None, evidence: dict[str, object] | None) -> Rejection | None:
    """Return the fault that a parser found, from a recorded rejection; None if a filter rejected it."""
    return Rejection(reason, evidence or {}) if reason in ("truncated", "repetition", "ambiguous") else None


def one_line(text: str) -> str:
    """Collapse all whitespace to single spaces, because a prompt lists one instruction per line."""
    return " ".join(text.split())


# ---------------------------------------------------------------------------------------------- thinking

_THINK = "think|thinking|reasoning"
_BLOCK = re.compile(rf"\A\s*<({_THINK})>(?P<thinking>.*?)(?:</\1>|\Z)", re.S | re.I)
# A chat template may open the block inside the prompt; then the answer holds only its end, at the end of a line.
_END_OF_BLOCK = re.compile(rf"</({_THINK})>[ \t]*(?:\n|\Z)", re.I)


def split_thinking(text: str) -> tuple[str, str]:
    """Return the content of the thinking block that a model may write before its answer, and the answer.

    The block may lack its beginning (when the chat template opens it inside the prompt) or its end (when it was cut).

    >>> split_thinking("<think>Capitals...</think>\\nParis."), split_thinking("<think>Capitals, hm")
    (('Capitals...', 'Paris.'), ('Capitals, hm', ''))
    """
    block = _BLOCK.match(text)
    if block is not None:
        return block["thinking"].strip(), text[block.end() :].strip()
    end = _END_OF_BLOCK.search(text)
    if end is None or re.search(f"<{end[1]}>", text[: end.start()], re.I):
        return "", text.strip()
    return text[: end.start()].strip(), text[end.end() :].strip()


def strip_thinking(text: str) -> str:
    """Remove the thinking block that a model may write before its answer; all other text belongs to the answer."""
    return split_thinking(text)[1]


# ---------------------------------------------------------------------------------------- classification
#
# A real completion (the prompt ended with "Classification:"):
#
#      Yes


def parse_classification(text: str, frame: Frame | None = None) -> bool | None:
    """Return True for yes, False for no, None for anything else (which the reference code took for "no").

    Args:
        text: the completion.
        frame: the words of the prompt; English if None.
    """
    pattern, yes = _yes_or_no(frames_read(frame))
    answer = pattern.match(strip_thinking(text))
    return None if answer is None else one_line(answer["answer"]).casefold() in yes


@functools.cache
def _yes_or_no(frames: tuple[Frame, ...]) -> tuple[re.Pattern[str], frozenset[str]]:
    yes = frozenset(word.casefold() for frame in frames for word in frame.yes)
    no = frozenset(word.casefold() for frame in frames for word in frame.no)
    before = alternation(word for frame in frames for word in (*frame.classification, *frame.answer))
    # A word ends where no letter follows it. Chinese and Japanese write on without a space.
    answers = "|".join(
        alternation([word]) + ("" if _is_unspaced(word) else r"(?!\w)")
        for word in sorted(yes | no, key=len, reverse=True)
    )
    pattern = re.compile(
        rf"[\s\"'*`:：.(\[-]*+(?:text\s+)?(?:(?:{before})\W*+)?(?P<answer>{answers})(?!\s*(?:/|or\b)\s*(?:{answers}))",
        re.I,
    )
    return pattern, yes


def _is_unspaced(word: str) -> bool:
    return "\u2e80" <= word[-1] <= "\u9fff"


# ------------------------------------------------------------------------------------------------- answer


def parse_answer(text: str, frame: Frame | None = None) -> tuple[str, Rejection | None]:
    """Return the answer in a completion, and what is doubtful about it.

    It ends before the next example and the next task, which have their fields after them. It also ends before an input
    and an output without either; they may be its own, which is a fault. So is a line that only looks like a task.

    >>> parse_answer(" Was the tram late?\\nExample 2\\nInput: She has")
    ('Was the tram late?', None)

    Args:
        text: the completion.
        frame: the words of the prompt; English if None.
    """
    lines = split_lines(text)
    scanned, _ = scan(
        [f"Output: {lines[0]}", *lines[1:]], mark_reader(frame, lines), Mark.opens_text, attrgetter("rest")
    )
    marks = [(k, line.mark) for k, line in enumerate(scanned) if k and line.mark and not line.mark.bullet]
    last_output = max((k for k, mark in marks if mark.kind == "output"), default=0)
    next_text = dict(pairwise(k for k, line in enumerate(scanned) if line.text.strip()))
    by_line, doubt = dict(marks), None
    for k, mark in marks:
        following = by_line.get(next_text.get(k, 0))
        before = "\n".join(lines[:k]).strip()
        if mark.kind == "example" and mark.is_bare() and mark.number not in ("", "1"):
            if following is not None and following.opens_text():
                return before, None
        elif mark.kind == "task" and not mark.number and not lines[k - 1].strip():
            if following is not None and following.kind != "task":
                return before, None
            doubt = ambiguous("a line like the mark of another task")
        elif mark.kind == "input" and k < last_output:
            return before, ambiguous("an input and an output after it")
    return "\n".join(lines).strip(), doubt
