"""The lock of a directory that one process at a time may write."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from selfinstruct.errors import ConfigError, RunLockedError
from selfinstruct.formats import jsonl


class LockedDirectory:
    """A directory with a lock. Making one touches no disk.

    Attributes:
        path: the directory.
        owner: the file that names the process that holds the lock, for people; there only while it is held.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = path / ".lock"
        self.owner = path / ".lock.owner"

    @classmethod
    def at(cls, output_dir: str | None) -> Self:
        """Return the directory that a configuration names.

        Raises:
            ConfigError: it names none.
        """
        if output_dir is None:
            raise ConfigError("give a run directory: --output-dir RUN, or `output_dir:` in the configuration")
        return cls(Path(output_dir))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory for writing; create it when it is missing.

        The lock is the operating system's, on an open file: it ends with its process, however that dies.

        Raises:
            RunLockedError: another process holds it; the message names its pid and host.
        """
        jsonl.make_directory(self.path)
        lock = FileLock(self._lock)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise RunLockedError(
                f"{self.path} is being written by {self._owner_text()}; wait for it or stop it"
            ) from error
        try:
            jsonl.write_json(self.owner, {"pid": os.getpid(), "host": socket.gethostname()})
            yield
        finally:
            self.owner.unlink(missing_ok=True)
            lock.release()

    def _owner_text(self) -> str:
        try:
            owner = json.loads(self.owner.read_text())
            return f"process {owner['pid']} on {owner['host']}"
        except (OSError, ValueError, KeyError):
            return "another process"
