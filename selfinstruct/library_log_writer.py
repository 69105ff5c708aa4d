"""The process that writes the log of a stage: what comes on stdin, line by line, with the time and the stage.

    python -m selfinstruct.library_log_writer PATH DESCRIPTOR STAGE BYTES [--show]

It ends when the last process that can write to its stdin has ended, and not before: it reads on where the disk is full,
and while those processes are being killed.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import os
import re
import signal
import sys
from pathlib import Path

from selfinstruct import __version__
from selfinstruct.text import printable

_LONGEST_LINE = 4_000
"""Characters of a line; what is longer is cut."""
_HELD = 65_536
"""Bytes of a line that are kept in memory until it ends."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Log:
    """A file of lines that several processes append to. When it is full it is renamed, and a new one begins.

    Args:
        path: the file.
        file: its descriptor.
        most: bytes; the file and the one before it, PATH.1, hold about as many each.
    """

    def __init__(self, path: Path, file: int, most: int) -> None:
        self._path = path
        self._file = file
        self._most = most
        self._lost = 0
        self._joined = self._ends_within_line()

    def write(self, line: str) -> None:
        """Append a line; what cannot be written is counted, and the count written when that is possible again."""
        try:
            self._take_new_file()
            lost = f"({self._lost:,} lines are missing: they could not be written)\n" if self._lost else ""
            data = f"{chr(10) if self._joined else ''}{lost}{line}\n".encode("utf-8", "backslashreplace")
            written = os.write(self._file, data)
            self._joined = written < len(data)
            self._lost = int(self._joined)
        except OSError:
            self._lost += 1

    def _take_new_file(self) -> None:
        """Go on with a new file if this one is full, or another process has renamed or removed it."""
        if self._is_at_path() and os.fstat(self._file).st_size < self._most:
            return
        if self._is_at_path():
            fcntl.flock(self._file, fcntl.LOCK_EX)
            if self._is_at_path():  # Else another process of this stage has just renamed it.
                self._path.replace(f"{self._path}.1")
        new = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        os.close(self._file)
        self._file = new
        self._joined = self._ends_within_line()

    def _is_at_path(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file), self._path.lstat())
        except FileNotFoundError:
            return False

    def _ends_within_line(self) -> bool:
        """Return whether the last writer was killed, or the disk full, in the middle of a line."""
        with contextlib.suppress(OSError):
            if size := os.fstat(self._file).st_size:
                return os.pread(self._file, 1, size - 1) != b"\n"
        return False


class Lines:
    """Cuts a stream of bytes into lines, as a terminal would show them in the end."""

    def __init__(self) -> None:
        self._held = b""
        self._cut = False

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that end in `data`, made harmless; lines with nothing in them are left out."""
        *ended, self._held = (self._held + data).split(b"\n")
        shown = [self._shown(line) for line in ended]
        if len(self._held) > _HELD:
            # A progress bar writes over itself; of any other line the beginning says most.
            *_, last = self._held.split(b"\r")
            self._cut = self._cut or len(last) > _HELD
            self._held = last[:_HELD]
        return [line for line in shown if line]

    def rest(self) -> list[str]:
        """Return what came after the last line break."""
        return self.feed(b"\n")

    def _shown(self, line: bytes) -> str:
        overwritten = [part for part in line.split(b"\r") if part.strip()]
        text = printable(_COLOUR.sub("", (overwritten or [b""])[-1].decode("utf-8", "backslashreplace"))).rstrip()
        cut, self._cut = self._cut or len(text) > _LONGEST_LINE, False
        return f"{text[:_LONGEST_LINE]} ..." if cut else text


def main(arguments: list[str]) -> int:
    """Write what comes on stdin until nobody can write to it any more."""
    path, file, stage, most = arguments[:4]
    show = "--show" in arguments[4:]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    log, lines = Log(Path(path), int(file), int(most)), Lines()
    log.write(_stamped(stage, f"begins: process {os.getppid()}, selfinstruct {__version__}"))
    while data := os.read(0, _HELD):
        _write(log, stage, lines.feed(data), show)
    _write(log, stage, lines.rest(), show)
    return 0


def _write(log: Log, stage: str, lines: list[str], show: bool) -> None:
    for line in lines:
        log.write(_stamped(stage, line))
        if show:
            with contextlib.suppress(OSError):  # The terminal has been closed.
                os.write(2, f"{line}\n".encode("utf-8", "backslashreplace"))


def _stamped(stage: str, line: str) -> str:
    return f"{datetime.datetime.now().astimezone().isoformat(timespec='seconds')} {stage}| {line}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
