"""Signs that a model no longer gives useful answers: completions that are empty, repeat themselves, or never end."""

from __future__ import annotations

from selfinstruct.run.lines import ProposalLine

KINDS = ("empty", "repeated", "truncated")

_LONGEST_PERIOD = 400
"""Length, in characters, of the longest text whose repetition is detected."""
_COPIES = 3
_SHORTEST = 320
"""Characters that all copies together have at least."""
_ANCHOR = 80
"""Characters at the end whose earlier copies are looked for."""


def degenerate(line: ProposalLine, seen: set[int]) -> str:
    """Return what is wrong with the completion of a proposal: one of `KINDS`, or the empty string.

    The kinds mean:

        empty       no candidate could be read from it
        repeated    it is equal to an earlier completion, or its end repeats one short text
        truncated   it was cut at `max_tokens`, and no candidate from it was accepted

    For a request that failed without an answer the result is the empty string.

    Args:
        line: the proposal.
        seen: hashes of all earlier completions, which only this process knows. The hash of this one is added.
    """
    if line.completion is None:
        return ""
    text = line.completion.text
    digest = hash(text)  # Of 64 bits; a cryptographic one takes four times as long.
    known = digest in seen
    seen.add(digest)
    if not line.candidates:
        return "empty"
    if known or loops(text):
        return "repeated"
    if line.completion.finish_reason == "length" and not any(candidate.accepted for candidate in line.candidates):
        return "truncated"
    return ""


def loops(text: str) -> bool:
    """Return whether the end of a text is one text of at most 400 characters again and again.

    Three copies, and 320 characters in all, are none that a person writes. Small models repeat whole paragraphs.
    """
    anchor = text[-_ANCHOR:]
    if len(text) < _SHORTEST:
        return False
    # If there is a period, it is the distance from the end to an earlier copy of it.
    start = text.rfind(anchor, -_LONGEST_PERIOD - _ANCHOR, -1)
    while start >= 0:
        period = len(text) - _ANCHOR - start
        tail = text[-max(_SHORTEST, _COPIES * period) :]
        if len(tail) >= _COPIES * period and tail[period:] == tail[:-period]:
            return True
        start = text.rfind(anchor, -_LONGEST_PERIOD - _ANCHOR, start + _ANCHOR - 1)
    return False
