"""Signs that a model no longer answers: completions that are empty, repeat themselves, or never end."""

from __future__ import annotations

import hashlib

from selfinstruct.run.lines import ProposalLine

KINDS = ("empty", "repeated", "truncated")

_PERIOD = 80
"""Longest text, in characters, whose repetition is looked for."""
_TAIL = 320
"""Characters at the end of a completion that must be its repetition."""


def degenerate(line: ProposalLine, seen: set[bytes]) -> str:
    """Return what is wrong with the completion of a proposal: one of `KINDS`, or the empty string.

        empty       no candidate could be read from it
        repeated    word for word an earlier completion, or it ends in one short text again and again
        truncated   it was cut at `max_tokens`, and nothing of it was accepted

    A request that failed without an answer is none of these.

    Args:
        line: the proposal.
        seen: digests of all earlier completions; this one's is added.
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
    """Return whether the last 320 characters are one text of at most 80 characters, again and again."""
    tail = text[-_TAIL:]
    if len(tail) < _TAIL:
        return False
    # The shift at which the last 80 characters recur is the period, when there is one.
    start = tail.rfind(tail[-_PERIOD:], 0, -1)
    shift = len(tail) - _PERIOD - start
    return start >= 0 and shift <= _PERIOD and tail[shift:] == tail[:-shift]
