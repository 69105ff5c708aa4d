"""A simulated disk that keeps what was fsynced and a random part of the rest: power loss, which `kill -9` cannot show.

The files are real. `Disk` watches the calls by which this program changes them. At the chosen one of these the machine
stops: what the disk holds at this moment is worked out, the program is ended by an exception, and nothing that it does
while it unwinds has any effect. `restore` then puts the files there as a machine would find them that starts again.

What survives is what POSIX promises, and no more:

- A file's bytes as they were at its last fsync. Bytes appended after it may be there, in part, or as zeros; of a file
  that was changed otherwise either content may be found; one that was never fsynced may be empty.
- A directory's entries as they were at its last fsync. Each later creation, removal or rename may have been written or
  not, independently of all others.
"""

from __future__ import annotations

import os
import random
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


class MachineStops(Exception):
    """The power failed, or the process was killed."""


class Disk:
    """The files below one directory.

    Args:
        root: the directory; what is there counts as written long ago.
        monkeypatch: by which the calls are watched.
        draw: of what survives.

    Attributes:
        stopped: whether the machine has stopped since the last `restore`.
        calls: changes seen since then.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, draw: random.Random) -> None:
        self.root = root
        self.stopped = False
        self.calls = 0
        self._draw = draw
        self._stop_at = 0
        self._told = False
        self._power_loss = True
        self._survivors: dict[Path, bytes | None] = {}
        self._lock = threading.RLock()
        self._held: dict[int, int] = {}  # inode -> an open descriptor: no new file gets the number of an old one.
        self._bytes: dict[int, bytes] = {}  # inode of a file -> its content at its last fsync.
        self._entries: dict[int, dict[str, int]] = {}  # inode of a directory -> its entries at its last fsync.
        self._folders: set[int] = set()
        self._real = {name: getattr(os, name) for name in ("fsync", "write", "replace", "rename", "unlink", "mkdir")}
        for name in self._real:
            monkeypatch.setattr(os, name, getattr(self, f"_{name}"))
        self._settle()

    def stop_after(self, calls: int, *, power_loss: bool = True) -> None:
        """Let the machine stop during the change number `calls` from now.

        Without `power_loss` it is the process that is killed: all that it wrote is there, fsynced or not, and what was
        not fsynced is lost when the power fails later.
        """
        self.calls, self._stop_at, self._power_loss = 0, calls, power_loss

    def restore(self) -> None:
        """Write the files as they are after the machine stopped."""
        assert self.stopped
        if self._power_loss:
            shutil.rmtree(self.root)
            self._real["mkdir"](self.root)
            for path, content in self._survivors.items():
                if content is None:
                    self._real["mkdir"](path)
                else:
                    path.write_bytes(content)
            self._settle()
        self.stopped, self._told, self._stop_at = False, False, 0

    def synced(self, path: Path) -> bytes:
        """Return the content that the last fsync of the file covered; empty if there was none."""
        return self._bytes.get(path.stat().st_ino, b"")

    def close(self) -> None:
        """Close the files."""
        for handle in self._held.values():
            os.close(handle)
        self._held.clear()

    # ------------------------------------------------------------------------------------ the calls, watched

    def _fsync(self, handle: int) -> None:
        with self._lock:
            path = Path(f"/proc/self/fd/{handle}").readlink()
            if self._stops(path):
                return
            if self._ours(path):
                self._note(Path(f"/proc/self/fd/{handle}"))
            else:
                self._real["fsync"](handle)

    def _write(self, handle: int, data: Any) -> int:
        with self._lock:
            path = Path(f"/proc/self/fd/{handle}").readlink()
            if self._ours(path) and not self.stopped and self.calls + 1 == self._stop_at:
                # During the change.
                self._real["write"](handle, bytes(data)[: self._draw.randrange(len(data) + 1)])
            if self._stops(path):
                return len(data)
            return int(self._real["write"](handle, data))

    def _replace(self, source: Any, target: Any, **options: Any) -> None:
        self._change("replace", Path(target), source, target, **options)

    def _rename(self, source: Any, target: Any, **options: Any) -> None:
        self._change("rename", Path(target), source, target, **options)

    def _unlink(self, path: Any, **options: Any) -> None:
        self._change("unlink", Path(path), path, **options)

    def _mkdir(self, path: Any, *options: Any, **others: Any) -> None:
        self._change("mkdir", Path(path), path, *options, **others)

    def _change(self, name: str, path: Path, *arguments: Any, **options: Any) -> None:
        """Stop the machine before the call or after it."""
        if not self._ours(path):
            self._real[name](*arguments, **options)
            return
        with self._lock:
            after = self._draw.random() < 0.5
            if not after and self._stops(path):
                return
            if not self.stopped:
                self._real[name](*arguments, **options)
            if after:
                self._stops(path)

    def _stops(self, path: Path) -> bool:
        """Count a change; return whether it no longer has an effect. The stop is raised once, in the main thread."""
        if not self._ours(path):
            return False
        if not self.stopped:
            self.calls += 1
            if self.calls == self._stop_at:
                if self._power_loss:
                    self._survivors = dict(self._surviving(self.root, self.root.stat().st_ino))
                self.stopped = True
        if self.stopped and not self._told and threading.current_thread() is threading.main_thread():
            self._told = True
            raise MachineStops
        return self.stopped

    def _ours(self, path: Path) -> bool:
        return path.absolute().is_relative_to(self.root)

    # --------------------------------------------------------------------------------------- what survives

    def _note(self, path: Path) -> None:
        """Make durable what an fsync does: a file's content, or a directory's entries."""
        found = path.stat()
        if found.st_ino not in self._held:
            self._held[found.st_ino] = os.open(path, os.O_RDONLY)
        if path.is_dir():
            self._folders.add(found.st_ino)
            self._entries[found.st_ino] = _listing(path)
        else:
            self._bytes[found.st_ino] = path.read_bytes()

    def _settle(self) -> None:
        """Make everything on the disk durable."""
        self.close()
        self._bytes.clear()
        self._entries.clear()
        self._folders.clear()
        for path in (self.root, *self.root.rglob("*")):
            self._note(path)

    def _surviving(self, folder: Path, number: int) -> Iterator[tuple[Path, bytes | None]]:
        """Yield path and content (None: a directory) of everything below `folder`, which has this inode."""
        now, durable = _listing(folder) if folder.is_dir() else {}, self._entries.get(number, {})
        for name in sorted({*now, *durable}):
            inode = self._draw.choice([now.get(name), durable.get(name)])
            if inode is None:
                continue
            path = folder / name
            if inode in self._folders or (now.get(name) == inode and path.is_dir()):
                yield path, None
                yield from self._surviving(path, inode)
            else:
                yield path, self._content(inode, path)

    def _content(self, inode: int, path: Path) -> bytes:
        current = path if path.exists() and path.stat().st_ino == inode else None
        if current is None and inode not in self._held:
            return b""  # Its folder was fsynced while it was there, itself it never was, and it has been removed.
        reached = current or Path(f"/proc/self/fd/{self._held[inode]}")
        now, durable = reached.read_bytes(), self._bytes.get(inode, b"")
        if not now.startswith(durable):
            return self._draw.choice([now, durable])
        rest = now[len(durable) :]
        written = self._draw.choice([0, len(rest), self._draw.randint(0, len(rest))])
        zeros = self._draw.choice([0, 0, self._draw.randint(0, len(rest) - written)])
        return durable + rest[:written] + bytes(zeros)


def _listing(folder: Path) -> dict[str, int]:
    with os.scandir(folder) as entries:
        return {entry.name: entry.inode() for entry in entries}
