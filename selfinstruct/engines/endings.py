"""Where an answer ends of its own accord: before what its request excludes, or where it only repeats itself."""

from __future__ import annotations

from selfinstruct.engines.base import Request
from selfinstruct.run.degenerate import loops

_LONGEST = 1_000
"""Characters in which a match of `Request.ends_before` has to lie, so that only the end of a text is searched anew."""


def ending(request: Request, before: str, part: str, reason: str | None = None) -> tuple[str, str | None]:
    """Return an answer up to its end, and why it ends there; None while it goes on.

    Args:
        request: what was asked.
        before: the answer as far as it was written.
        part: what is written after that.
        reason: why it ends by itself after this part.
    """
    text = before + part
    if request.ends_before is not None:
        found = request.ends_before.search(text, max(0, len(before) - _LONGEST))
        if found is not None:
            return text[: found.start()], "stop"
    if reason is None and request.stop_loops and loops(text):
        reason = "repetition"
    return text, reason
