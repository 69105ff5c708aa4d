"""The length of an instruction in words."""

from __future__ import annotations

from selfinstruct.novelty import tokenize
from selfinstruct.records import Rejection, Tokenizer


def length(text: str, *, min_words: int, max_words: int, tokenizer: Tokenizer = "words") -> Rejection | None:
    """Reject a text of fewer than `min_words` or more than `max_words` words.

    Words are counted by the tokenizer of novelty: split at whitespace, a Chinese sentence would be one word.

    Args:
        text: the instruction.
        min_words: the smallest number of words to keep.
        max_words: the largest number of words to keep.
        tokenizer: how the text is split into words.
    """
    words = len(tokenize(text, tokenizer))
    if words < min_words:
        return Rejection("too_short", {"words": words, "min_words": min_words})
    if words > max_words:
        return Rejection("too_long", {"words": words, "max_words": max_words})
    return None
