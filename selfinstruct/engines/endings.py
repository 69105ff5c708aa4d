"""Where an answer ends of its own accord: before what its request excludes, or where it only repeats itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selfinstruct.engines.base import Request
from selfinstruct.run.degenerate import loops

_LONGEST = 1_000
"""Characters in which a match of `Request.ends_before` has to lie, so that only the end of a text is searched again."""

_EVERY = 256
"""Characters between two looks at an answer."""


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
        end = request.ends_before.search(text, max(0, len(before) - _LONGEST))
        if end is not None:
            return text[: end.start()], "stop"
    if reason is None and request.stop_loops and loops(text):
        reason = "repetition"
    return text, reason


@dataclass(slots=True)
class Watched:
    """An answer that is looked at every 256 characters, so that its end does not depend on the parts it comes in.

    Attributes:
        request: what was asked.
        written: all that came so far.
        text: the answer up to its end; meanwhile, what was looked at.
        ended: why it has ended; None while it goes on.
    """

    request: Request
    written: str = ""
    text: str = ""
    ended: str | None = None

    def add(self, part: str) -> None:
        """Add a part; `text` leaves out what comes after the end."""
        self.written += part
        while self.ended is None and len(self.written) - len(self.text) >= _EVERY:
            self._look(len(self.text) + _EVERY, None)

    def finish(self, reason: str | None) -> None:
        """Note that nothing more comes; `reason` is None where the answer was cut."""
        if self.ended is None:
            self._look(len(self.written), reason)

    def _look(self, end: int, reason: str | None) -> None:
        seen = len(self.text)
        text, stopped = cut_at(self.written[:end], self.request.stop)
        self.text, self.ended = ending(self.request, text[:seen], text[seen:], "stop" if stopped else reason)


def cut_at(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """Return a text up to the first stop string in it, and whether there was one.

    >>> cut_at("Output: 4\\n\\nTask", ("\\n\\n", "Task")), cut_at("Output: 4", ("\\n\\n",))
    (('Output: 4', True), ('Output: 4', False))
    """
    ends = [position for stop in stops if stop and (position := text.find(stop)) >= 0]
    return (text[: min(ends)], True) if ends else (text, False)
