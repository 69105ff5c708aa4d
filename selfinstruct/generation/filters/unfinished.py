"""Answers that promise something and end, or end in the middle.

Sure, here is a list of three rivers.
The three longest rivers are the Nile, the
"""

from __future__ import annotations

import re

from selfinstruct.generation.filters.row import Row
from selfinstruct.records import Rejection

_MOST_WORDS = 25
_PROMISE = re.compile(
    r"(?:(?:sure|certainly|of course|okay|ok|absolutely|great|yes|no problem)\b[^.!?:\n]{0,40}[.!,:]\s*)?"
    r"(?:here(?:['’]s| is| are)|below (?:is|are)|the following (?:is|are)"
    r"|I(?:['’]ll| will| can|(?: would|['’]d) be happy to) (?:\w+ ){0,2}"
    r"(?:help|assist|provide|generate))\b"
    r"[^\n:\"“(,]*[.!:…]?",
    re.I,
)
_SURE = re.compile(r"(?:sure|certainly|of course|okay|ok|absolutely|no problem)[.!,:]*", re.I)
_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})", re.M)
# Words after which an English sentence goes on.
_GOES_ON = re.compile(
    r"(?:[,(\[{]|(?<=\w)[-–—]|\b(?:the|an|of|and|or|with|from|into|because|although|their|your|its|our|whose|than|very|"
    r"between|during|such as|including))$"
)


def unfinished(row: Row) -> Rejection | None:
    """Reject an output that only promises an answer, leaves a code fence open, or ends inside a sentence.

    The evidence says which of them, and shows the end.
    """
    if row.is_classification:
        return None
    text = row.output.strip()
    end, words = text[-60:], len(text.split())
    if words <= _MOST_WORDS and (_SURE.fullmatch(text) or _PROMISE.fullmatch(text)):
        return Rejection("unfinished", {"why": "only promises an answer", "end": end})
    if ("```" in text or "~~~" in text) and len(_FENCE.findall(text)) % 2:
        return Rejection("unfinished", {"why": "a code fence is open", "end": end})
    if words >= 8 and _GOES_ON.search(end):
        return Rejection("unfinished", {"why": "ends inside a sentence", "end": end})
    return None
