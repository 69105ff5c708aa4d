"""Signs that a model no longer gives useful answers: completions that are empty, repeat themselves, or never end."""

from __future__ import annotations

import hashlib

from selfinstruct.run.lines import ProposalLine

KINDS = ("empty", "repeated", "truncated")

_PERIOD = 80
"""Length, in characters, of the longest text whose repetition is detected."""
_TAIL = 320
"""Number of characters at the end of a completion that must consist of the repeated text."""


def degenerate(line: ProposalLine, seen: set[bytes]) -> str:
    """Return what is wrong with the completion of a proposal: one of `KINDS`, or the empty string.

    The kinds mean:

        empty       no candidate could be read from it
        repeated    it is equal to an earlier completion, or its end repeats one short text
        truncated   it was cut at `max_tokens`, and no candidate from it was accepted

    For a request that failed without an answer the result is the empty string.

    Args:
        line: the proposal.
        seen: digests of all earlier completions. The digest of this one is added.
    """
    if line.completion is None:
        return ""
    text = line.completion.text
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
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
    """Return whether the last 320 characters repeat one text of at most 80 characters."""
    tail = text[-_TAIL:]
    if len(tail) < _TAIL:
        return False
    # If there is a period, it is the distance to the previous copy of the last 80 characters.
    start = tail.rfind(tail[-_PERIOD:], 0, -1)
    shift = len(tail) - _PERIOD - start
    return start >= 0 and shift <= _PERIOD and tail[shift:] == tail[:-shift]
