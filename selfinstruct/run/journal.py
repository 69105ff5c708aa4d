"""The journal of a run: read it, move an incomplete last line away, append to it durably.

`journal.jsonl` is the run. It is append-only, and each line is one transaction. The first line is the header, which
identifies the run. Every other line is a control line, or the outcome of one request with all decisions about it.
`run/lines.py` has a type for each kind of line.

The journal does not depend on latencies. It does not depend on the clock, except for a stop at a deadline. Wall-clock
measurements are in `metrics.jsonl`, which replay does not read.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

from selfinstruct.errors import InputError, SelfInstructError
from selfinstruct.formats import jsonl
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


def set_torn_tail_aside(journal: Path, aside: Path) -> int:
    """Move an incomplete last line of the journal to the end of `aside`. Return its size in bytes, 0 if there is none.

    A crash during a write leaves a last line without a newline, possibly cut inside a character. After a power loss,
    bytes that did not reach the disk may be zeros, and the newline of their line may be intact. Undamaged lines hold no
    NUL byte. The removed lines were not committed, so their requests are made again. The remaining lines are fsynced,
    because a killed process may not have done so.

    Raises:
        SelfInstructError: `aside` cannot be written, for example on a full disk. The journal is unchanged.
    """
    with journal.open("r+b") as stream:
        end = size = stream.seek(0, os.SEEK_END)
        if not _ends_with_newline(stream, end):
            end = _start_of_line(stream, end)
        while end > 0 and b"\0" in _bytes(stream, start := _start_of_line(stream, end - 1), end):
            end = start
        if end < size:
            try:
                with aside.open("ab") as torn:
                    torn.write(_bytes(stream, end, size) + b"\n")
                    torn.flush()
                    os.fsync(torn.fileno())
            except OSError as error:
                raise _refused(aside, error) from error
            jsonl.fsync_directory(aside.parent)
            stream.truncate(end)
        os.fsync(stream.fileno())
    return size - end


def _refused(path: Path, error: OSError) -> SelfInstructError:
    return SelfInstructError(
        f"{path}: cannot be written: {error.strerror}. What was written before is kept; "
        "make room or repair the disk, then give the same command again"
    )


def _ends_with_newline(stream: BinaryIO, end: int) -> bool:
    return end == 0 or _bytes(stream, end - 1, end) == b"\n"


def _start_of_line(stream: BinaryIO, end: int) -> int:
    """Return the start of the line that ends at `end`."""
    while end > 0:
        start = max(0, end - 65536)
        newline = _bytes(stream, start, end).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _bytes(stream: BinaryIO, start: int, end: int) -> bytes:
    stream.seek(start)
    return stream.read(end - start)


class JournalWriter:
    """Appends lines, each with one write. Groups of lines are fsynced in the background.

    When `append` has returned, the line survives the death of this process. It survives power loss after the next
    fsync, at most `fsync_interval` seconds later (0: before `append` returns).

    `append` and `close` raise `SelfInstructError` if writing fails, for example on a full disk. The earlier lines stay
    intact, and nothing is appended after a failed write.

    Args:
        path: the journal.
        fsync_interval: seconds between two fsyncs; 0: fsync each line.
    """

    def __init__(self, path: Path, fsync_interval: float = 1.0) -> None:
        self._path = path
        self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        # Also for an existing file: the process that created it may have been killed before its fsync.
        jsonl.fsync_directory(path.parent)
        self._interval = fsync_interval
        self._dirty = threading.Event()
        self._closing = threading.Event()
        self._error: OSError | None = None
        self._syncer: threading.Thread | None = None
        if fsync_interval > 0:
            self._syncer = threading.Thread(target=self._sync_loop, name="journal-fsync", daemon=True)
            self._syncer.start()

    def append(self, line: Line) -> None:
        """Append one line; raise `SelfInstructError` if writing fails."""
        if self._error is not None:
            raise _refused(self._path, self._error)
        data = encode(line)
        try:
            written = os.write(self._handle, data)
            while written < len(data):  # A full disk accepts part of the line and then raises.
                written += os.write(self._handle, data[written:])
            if self._syncer is None:
                os.fsync(self._handle)
        except OSError as error:
            self._error = error
            raise _refused(self._path, error) from error
        self._dirty.set()

    def close(self) -> None:
        """Fsync and close the file; no-op if it is closed. Raise `SelfInstructError` if a write or an fsync failed."""
        if self._handle < 0:
            return
        self._closing.set()
        if self._syncer is not None:
            self._syncer.join()
        handle, self._handle = self._handle, -1
        try:
            # Linux reports a failed fsync once: the next one may succeed although the data is gone.
            if self._error is not None:
                raise self._error
            os.fsync(handle)
        except OSError as error:
            raise _refused(self._path, error) from error
        finally:
            os.close(handle)

    def _sync_loop(self) -> None:
        # Wait only for `_closing`. Waiting also for `_dirty` could miss a `close` that comes before `_dirty.clear`.
        while not self._closing.wait(self._interval):
            if not self._dirty.is_set():
                continue
            self._dirty.clear()
            try:
                os.fsync(self._handle)
            except OSError as error:
                self._error = error
                return

    def __enter__(self) -> JournalWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
