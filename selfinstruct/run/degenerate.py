"""Signs that a model no longer answers: completions that hold nothing, go round in circles, or never come to an end."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

KINDS = ("empty", "repeated", "truncated")

_PERIOD = 80
"""Longest piece, in characters, whose repetition is looked for."""
_TAIL = 320
"""Characters at the end of a completion that must be its repetition."""


def degenerate(line: Mapping[str, Any], seen: set[bytes]) -> str:
    """What is wrong with the completion of a proposal's journal line: one of `KINDS`, or the empty string.

        empty       no candidate could be read from it
        repeated    word for word an earlier completion, or its end is one short piece over and over
        truncated   it reached its longest length, and nothing of it was accepted

    Args:
        line: the journal line; a request that failed without an answer is none of these.
        seen: digests of all earlier completions; this one's is added.
    """
    completion = line.get("completion")
    if completion is None:
        return ""
    text = completion["text"]
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    known = digest in seen
    seen.add(digest)
    candidates = line.get("candidates", ())
    if not candidates:
        return "empty"
    if known or loops(text):
        return "repeated"
    if completion["finish_reason"] == "length" and not any(candidate["accepted"] for candidate in candidates):
        return "truncated"
    return ""


def loops(text: str) -> bool:
    """Whether the last 320 characters are one piece of at most 80 characters over and over."""
    tail = text[-_TAIL:]
    if len(tail) < _TAIL:
        return False
    # The shift at which the last 80 characters recur is the period, when there is one.
    place = tail.rfind(tail[-_PERIOD:], 0, -1)
    shift = len(tail) - _PERIOD - place
    return place >= 0 and shift <= _PERIOD and tail[shift:] == tail[:-shift]
