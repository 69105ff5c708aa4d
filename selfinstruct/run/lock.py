"""The lock of a directory to which only one process at a time may write."""

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

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock inside the block. Create the directory if it is missing.

        The operating system locks an open file, so the lock ends when the process ends in any way.

        Raises:
            RunLockedError: another process holds the lock; the message names its pid and host.
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
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"
