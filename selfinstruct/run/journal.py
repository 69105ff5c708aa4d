"""The journal of a run: read it, append to it (see `appending.py`).

`journal.jsonl` is the run. It is append-only, and each line is one transaction. The first line is the header, which
identifies the run. Every other line is a control line, or the outcome of one request with all decisions about it.
`run/lines.py` has a type for each kind of line.

The journal does not depend on latencies. It does not depend on the clock, except for a stop at a deadline. Wall-clock
measurements are in `metrics.jsonl`, which replay does not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from operator import itemgetter
from pathlib import Path

from selfinstruct.errors import InputError
from selfinstruct.run.appending import Appender, require_utf8
from selfinstruct.run.lines import Header, Line, encode, parse_valid

_NEWLINE = ord("\n")
_BUFFER = 2**20


def read_lines(path: Path, *, live: bool = False) -> Iterator[Line]:
    """Yield the journal's complete lines in order. An incomplete last line is left out.

    Args:
        path: the journal.
        live: whether another process may be writing to it; if so, a damaged last line is not an error.

    Raises:
        InputError: a line is damaged; the message names its number and byte offset.
    """
    return map(itemgetter(1), read_raw_lines(path, live=live))


def read_header(path: Path) -> Header | None:
    """Return the journal's header; None if the first line is missing or is not a header.

    Raises:
        InputError: the first line is damaged.
    """
    first = next(read_lines(path, live=True), None)
    return first if isinstance(first, Header) else None


def read_raw_lines(path: Path, *, live: bool = False) -> Iterator[tuple[bytes, Line]]:
    """Yield (bytes, line) of the same lines as `read_lines`. The bytes are for copying a line unchanged.

    Args:
        path: the journal.
        live: as in `read_lines`.

    Raises:
        InputError: as in `read_lines`.
    """
    with path.open("rb", buffering=_BUFFER) as stream:
        for number, raw in enumerate(stream, 1):
            try:
                if raw[-1] != _NEWLINE:
                    return
                yield raw, parse_valid(raw)
            except ValueError as error:
                if live and not stream.read(1):
                    return
                if number == 1:
                    require_utf8(path, raw)
                raise InputError(
                    f"{path}, line {number} (byte {offset_of(path, number)}): damaged: {error}; {_remedy(path, number)}"
                ) from error


def offset_of(path: Path, number: int) -> int:
    """Return the byte at which line `number` (from 1) of a file begins."""
    with path.open("rb") as stream:
        return sum(map(len, islice(stream, number - 1)))


def _remedy(path: Path, number: int) -> str:
    """Return what to do about a damaged line; without the first one nobody knows what the run is."""
    if number == 1:
        return "it says what the run is, so restore the journal from a copy, or begin another run in another directory"
    return (
        f"the lines before it are intact. Restore the journal from a copy, or let `selfinstruct repair {path.parent}` "
        "remove the damage: it keeps a copy and shows what is lost"
    )


class JournalWriter(Appender):
    """Appends lines to a journal."""

    def append(self, line: Line) -> None:
        """Append one line; raise `SelfInstructError` if writing fails."""
        self.append_bytes(encode(line))
