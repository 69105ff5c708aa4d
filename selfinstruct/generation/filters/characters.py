"""Characters that break dataset files, or that nobody can read."""

from __future__ import annotations

import re

from selfinstruct.records import Rejection

# Control characters except tab, newline and carriage return; lone surrogates; U+FFFD, which replaces broken bytes.
_INVALID = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffd]")


def invalid_characters(text: str) -> Rejection | None:
    """Reject control characters, lone surrogates and replacement characters.

    The evidence is the first such character and its position in the text.
    """
    first = _INVALID.search(text)
    if first is None:
        return None
    return Rejection("invalid_characters", {"character": f"U+{ord(first.group()):04X}", "position": first.start()})
