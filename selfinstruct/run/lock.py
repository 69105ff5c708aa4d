"""The lock of a directory to which only one process at a time may write, with the stages that it starts."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from selfinstruct.environment import LOCKS
from selfinstruct.errors import ConfigError, InputError, RunLockedError
from selfinstruct.formats import jsonl

_held: set[int] = set()
"""Descriptors of the locks that this process has taken."""


class LockedDirectory:
    """A directory with a lock. The constructor does not access the disk.

    Attributes:
        path: the directory.
        owner: a file that names the process that holds the lock; it exists only while the lock is held.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = path / ".lock"
        self.owner = path / ".lock.owner"

    @classmethod
    def at(cls, output_dir: str | None) -> Self:
        """Return the directory that a configuration names.

        Raises:
            ConfigError: `output_dir` is None.
        """
        if output_dir is None:
            raise ConfigError("give a run directory: --output-dir RUN, or `output_dir:` in the configuration")
        return cls(Path(output_dir))

    def written(self) -> Iterator[Path]:
        """Yield the paths inside the directory that a process with the lock writes, as far as they exist."""
        yield from ()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock inside the block. Create the directory if it is missing.

        The operating system locks an open file, so the lock ends when the process ends in any way. A block inside
        another one of the same directory, also in a stage that this process starts, shares its lock.

        Raises:
            RunLockedError: another process holds the lock; the message names its pid and host.
            InputError: something that is written here is a link; what it points to is not ours to write.
        """
        jsonl.make_directory(self.path)
        for path in (self._lock, self.owner, *self.written()):
            if path.is_symlink():
                raise InputError(
                    f"{path} is a link to {path.readlink()}, and nothing is written through links; put the file or "
                    "folder itself there, or move the whole directory and link that"
                )
        handle = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            if _is_held(handle):
                yield
                return
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunLockedError(
                    f"{self.path} is being written by {self._owner_text()}; wait for it or stop it"
                ) from error
            with self._owned(handle):
                yield
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def locked_anew(self) -> Iterator[None]:
        """Hold the lock inside the block. After an error, lock and directory are gone again if they were not there.

        Raises:
            RunLockedError: as `locked`.
            InputError: as `locked`.
        """
        new_lock, new_directory = not self._lock.exists(), not self.path.exists()
        try:
            with self.locked():
                yield
        except RunLockedError:
            raise
        except BaseException:
            if new_lock:
                self._lock.unlink(missing_ok=True)
            if new_directory:
                with contextlib.suppress(OSError):  # Something was written.
                    self.path.rmdir()
            raise

    def require_unlocked(self) -> None:
        """Find out, before slow checks, whether another process writes here; it may begin to later. Write nothing new.

        Raises:
            RunLockedError: another process holds the lock.
        """
        if self._lock.exists():
            with self.locked():
                pass

    @contextlib.contextmanager
    def _owned(self, handle: int) -> Iterator[None]:
        _held.add(handle)
        try:
            jsonl.write_json(self.owner, {"pid": os.getpid(), "host": socket.gethostname()})
            yield
        finally:
            _held.discard(handle)  # Before what may fail: no later stage is handed a closed descriptor.
            try:
                self.owner.unlink(missing_ok=True)
            finally:
                fcntl.flock(handle, fcntl.LOCK_UN)  # Also for a process that lingers with a copy of the descriptor.

    def _owner_text(self) -> str:
        try:
            owner = json.loads(self.owner.read_text())
            return f"process {owner['pid']} on {owner['host']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"


def locks_for_stage() -> tuple[tuple[int, ...], dict[str, str]]:
    """Return the descriptors of the locks held here, and the environment variable that names them to a stage.

    A stage that has the descriptors keeps the locks until it has ended, also if this process is killed before.
    """
    return tuple(sorted(_held)), {LOCKS: ",".join(map(str, sorted(_held)))}


def _is_held(handle: int) -> bool:
    """Return whether this process, or the one that started it as a stage, already holds the lock of this file."""
    return any(_same_file(handle, other) for other in [*_held, *_inherited()])


def _inherited() -> Iterator[int]:
    for word in os.environ.get(LOCKS, "").split(","):
        if word.isdecimal():
            yield int(word)


def _same_file(handle: int, other: int) -> bool:
    try:
        if not os.path.samestat(os.fstat(handle), os.fstat(other)):
            return False
        os.set_inheritable(other, False)  # An engine that lingers must not keep the lock.
    except OSError:  # No such descriptor here: a process further down has only the environment.
        return False
    return True
