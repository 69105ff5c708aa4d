"""Characters that break dataset files, or that nobody can read."""

from __future__ import annotations

import re
import unicodedata

from selfinstruct.records import Rejection

# Control characters except tab, newline and carriage return; lone surrogates; U+FFFD, which replaces broken bytes; the
# overrides of direction, which show a text in another order than a program reads it.
_INVALID = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202d\u202e\ud800-\udfff\ufffd]")

# Embeddings and isolates of direction: a text without a letter that is read from right to left has no use for them.
_DIRECTION = re.compile("[\u202a-\u202c\u2066-\u2069]")

# Characters without width: zero-width space, joiners, soft hyphen, marks of direction, byte order mark and the like.
# Some scripts need them; a Latin, Greek or Cyrillic word with one inside is another word to a program than to its
# reader.
_INSIDE_WORD = re.compile(
    r"(?<=[A-Za-z\u00c0-\u052f])[\u00ad\u034f\u180e\u200b-\u200f\u2060-\u2064\ufeff]+(?=[A-Za-z\u00c0-\u052f])"
)

# Tags are a copy of ASCII that is not seen, but read by a model. Only the flags of regions are written with them.
_TAGS = re.compile("(?<![\U0001f3f4\U000e0020-\U000e007f])[\U000e0000-\U000e007f]")


def invalid_characters(text: str) -> Rejection | None:
    """Reject control characters, overrides of direction, lone surrogates and replacement characters.

    Marks of direction are allowed. Embeddings and isolates are allowed where a letter of the text is read from right to
    left: Arabic or Hebrew mixed with other scripts has them. Characters without width are rejected between two letters
    of Latin, Greek or Cyrillic, and allowed elsewhere: Persian, the scripts of India and emoji are written with some.
    The evidence is the first such character and its position in the text.
    """
    patterns = [_INVALID]
    if not text.isascii():  # The others need no look at ASCII.
        patterns += [_INSIDE_WORD, _TAGS] if _has_right_to_left(text) else [_INSIDE_WORD, _TAGS, _DIRECTION]
    matches = [match for pattern in patterns if (match := pattern.search(text))]
    if not matches:
        return None
    first = min(matches, key=re.Match.start)
    return Rejection("invalid_characters", {"character": f"U+{ord(first[0][0]):04X}", "position": first.start()})


def _has_right_to_left(text: str) -> bool:
    return any(character.isalpha() and unicodedata.bidirectional(character) in {"R", "AL"} for character in text)
