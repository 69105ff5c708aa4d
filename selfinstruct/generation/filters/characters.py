"""Characters that break dataset files, or that nobody can read."""

from __future__ import annotations

import re

from selfinstruct.records import Rejection

# Control characters except tab, newline and carriage return; lone surrogates; U+FFFD, which replaces broken bytes; the
# overrides of direction, which show a text in another order than a program reads it.
_INVALID = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202d\u202e\ud800-\udfff\ufffd]")


def invalid_characters(text: str) -> Rejection | None:
    """Reject control characters, overrides of direction, lone surrogates and replacement characters.

    Marks, embeddings and isolates of direction are allowed: Arabic or Hebrew mixed with other scripts has them. The
    evidence is the first such character and its position in the text.
    """
    first = _INVALID.search(text)
    if first is None:
        return None
    return Rejection("invalid_characters", {"character": f"U+{ord(first.group()):04X}", "position": first.start()})
