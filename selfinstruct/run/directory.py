"""The run directory: every path in it, and its lock."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from selfinstruct.errors import ConfigError, InputError, RunLockedError
from selfinstruct.formats import jsonl


class RunDirectory:
    """Where a run keeps its things. Making one touches no disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.journal = path / "journal.jsonl"
        self.torn = path / "journal.jsonl.torn"
        self.damaged = path / "journal.jsonl.damaged"
        self.metrics = path / "metrics.jsonl"
        self.dataset = path / "dataset"
        self.model = path / "model"
        self.seeds_dataset = path / "dataset-seeds"
        self.seeds_model = path / "model-seeds"
        self.evaluation = path / "evaluation"
        self.report = path / "report.html"
        self.schedule = path / "schedule.json"
        self.stopped = path / "stopped.json"
        self._lock = path / ".lock"
        self.owner = path / ".lock.owner"
        self.engine = path / ".engine.json"

    @classmethod
    def at(cls, output_dir: str | None) -> RunDirectory:
        """Return the run directory that a configuration names.

        Raises:
            ConfigError: it names none.
        """
        if output_dir is None:
            raise ConfigError("give a run directory: --output-dir RUN, or `output_dir:` in the configuration")
        return cls(Path(output_dir))

    @property
    def generated(self) -> RunDirectory:
        """Directory of the run as it was generated, where this run's outputs are rewritten ones: RUN-generated."""
        return RunDirectory(self.path.with_name(f"{self.path.name}-generated"))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory for writing; created when missing.

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

    def require_journal(self) -> None:
        """Raise `InputError` unless this is a run directory with a journal."""
        if not self.journal.exists():
            raise InputError(
                f"{self.path} is no run directory: it has no journal.jsonl; start one with `selfinstruct generate`"
            )


def cut_by_deadline(run: RunDirectory) -> list[str]:
    """What the last `run` with a deadline left out or shortened; empty when nothing was."""
    found = _read(run.schedule).get("cut")
    return [str(sentence) for sentence in found] if isinstance(found, list) else []


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
