"""Append lines to a file durably; set aside what a crash left of an incomplete last line.

The journal and the kept answers of evaluations are written so.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import BinaryIO, Self

from selfinstruct.errors import InputError, SelfInstructError
from selfinstruct.formats import jsonl


def set_torn_tail_aside(path: Path, aside: Path | None) -> int:
    """Move an incomplete last line of a file to the end of `aside`. Return its size in bytes, 0 if there is none.

    A crash during a write leaves a last line without a newline, possibly cut inside a character. After a power loss,
    bytes that did not reach the disk may be zeros, and the newline of their line may be intact. Undamaged lines hold no
    NUL byte. The removed lines were not committed, so their requests are made again. The remaining lines are fsynced,
    because a killed process may not have done so.

    Args:
        path: a file of lines.
        aside: where what was incomplete is kept; None: it is dropped.

    Raises:
        InputError: the file is in another encoding, in which every line looks incomplete. It is unchanged.
        SelfInstructError: `aside` cannot be written, for example on a full disk. The file is unchanged.
    """
    with path.open("r+b") as stream:
        require_utf8(path, stream.read(16))
        end = size = stream.seek(0, os.SEEK_END)
        if not _ends_with_newline(stream, end):
            end = _start_of_line(stream, end)
        while end > 0 and b"\0" in _bytes(stream, start := _start_of_line(stream, end - 1), end):
            end = start
        if end < size:
            if aside is not None:
                _add(aside, _bytes(stream, end, size) + b"\n")
            stream.truncate(end)
        os.fsync(stream.fileno())
    return size - end


def require_utf8(path: Path, beginning: bytes) -> None:
    """Raise `InputError` if a file of JSON objects was written in another encoding, as some editors and shells do.

    Args:
        path: the file.
        beginning: its first bytes, 12 or more.
    """
    for encoding in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        if beginning.startswith(('{"'.encode(encoding), '\ufeff{"'.encode(encoding))):
            name = encoding.upper()
            raise InputError(
                f"{path}: is in {name} and must be in UTF-8; restore it from a copy, or convert it back "
                f"(iconv -f {name} -t UTF-8) and remove the byte order mark, if there is one"
            )


def _add(path: Path, data: bytes) -> None:
    try:
        with path.open("ab") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise _refused(path, error) from error
    jsonl.fsync_directory(path.parent)


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


class Appender:
    """Appends lines, each with one write. Groups of lines are fsynced in the background.

    When `append_bytes` has returned, the line survives the death of this process. It survives power loss after the next
    fsync, at most `fsync_interval` seconds later (0: before it returns).

    `append_bytes` and `close` raise `SelfInstructError` if writing fails, for example on a full disk. The earlier lines
    stay intact, and nothing is appended after a failed write.

    Args:
        path: the file; its folder exists.
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

    def append_bytes(self, data: bytes) -> None:
        """Append one line; raise `SelfInstructError` if writing fails."""
        if self._error is not None:
            raise _refused(self._path, self._error)
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
