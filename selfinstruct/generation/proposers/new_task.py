"""Read one new task in an answer, after the mark that opens it.

A real answer (the prompt ended with "Plan:"):

     Both are about plants, one in a garden and one in a vase. A new one needs another place.
    **New task:** Describe how moss comes to grow on a roof.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from selfinstruct.generation.frame import Words
from selfinstruct.generation.markers import BLANK, COLON, alternation
from selfinstruct.generation.parsing import TRUNCATED, ambiguous, one_line, strip_thinking
from selfinstruct.generation.proposal_parsing import ProposedText
from selfinstruct.records import Completion

_WRAPS = (("**", "**"), ('"', '"'), ("“", "”"), ("`", "`"), ("*", "*"))


def read_new_task(
    answer: Completion, words: Words, *, ends: Words = (), opened: bool = False, worked: Collection[str] = ()
) -> list[ProposedText]:
    """Return the first task that a mark opens, up to the next mark or blank line; none when there is no mark.

    Args:
        answer: the model's.
        words: open a new task.
        ends: words that open something else, with which the task ends.
        opened: the prompt has opened it: the answer begins with the task, unless it repeats the mark.
        worked: new tasks that the prompt shows as worked examples; one of them again is none.
    """
    text = strip_thinking(answer.text)
    heading = _mark(words).search(text)
    if heading is None and not opened:
        return []
    rest = text[heading.end() :].lstrip() if heading else text
    paragraph, blank, _ = rest.partition("\n\n")
    following = _mark((*words, *ends)).search(paragraph, 1)
    task = _unwrapped(one_line(paragraph[: following.start()] if following else paragraph))
    cut = answer.finish_reason != "stop" and not (blank or following)
    fault = TRUNCATED if cut else ambiguous("a worked example of the prompt") if task in worked else None
    return [ProposedText(task, fault)] if task else []


def _mark(words: Words) -> re.Pattern[str]:
    """Return a pattern that matches one of the words, and a colon, at the beginning of a line."""
    bold = rf"(?:\*\*)?{BLANK}*+"
    opening = rf"^{BLANK}*+(?:[-*#>]+{BLANK}++)?{bold}"
    return re.compile(rf"{opening}(?:{alternation(words)}){bold}{COLON}(?:\*\*)?", re.MULTILINE | re.IGNORECASE)


def _unwrapped(text: str) -> str:
    """Strip the marks of emphasis or quotation around a whole text."""
    for opening, closing in _WRAPS:
        inside = text[len(opening) : -len(closing)]
        if text.startswith(opening) and text.endswith(closing) and inside and closing not in inside:
            return inside.strip()
    return text
