"""Instructions that are too short or too long."""

from __future__ import annotations

from selfinstruct.novelty import tokenize
from selfinstruct.records import Rejection


def length(text: str, *, min_words: int, max_words: int) -> Rejection | None:
    """Reject fewer than `min_words` or more than `max_words` words, as the novelty tokeniser counts them.

    (Counting at whitespace would make a Chinese sentence one word.)
    """
    words = len(tokenize(text))
    if words < min_words:
        return Rejection("too_short", {"words": words, "min_words": min_words})
    if words > max_words:
        return Rejection("too_long", {"words": words, "max_words": max_words})
    return None
