"""Text that no dataset file can hold, or that no reader would thank us for."""

from __future__ import annotations

import re

from selfinstruct.records import Rejection

# Control characters but tab, newline and carriage return; lone surrogates; U+FFFD, left by a cut byte sequence.
_INVALID = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffd]")


def invalid_characters(text: str) -> Rejection | None:
    """Reject control characters, lone surrogates and replacement characters; evidence: the first one and its place."""
    found = _INVALID.search(text)
    if found is None:
        return None
    return Rejection("invalid_characters", {"character": f"U+{ord(found.group()):04X}", "position": found.start()})
