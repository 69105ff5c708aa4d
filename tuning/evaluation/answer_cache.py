"""The files in which an evaluation keeps its rows, so that nothing is asked twice and no answer is ever lost.

evaluation/kept/<name>-<arm>.jsonl   every row, appended as soon as it is made, with the hash of all that determines it
evaluation/<name>-<arm>.jsonl        the rows of the last evaluation that succeeded: its scores are made of them
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

from selfinstruct.errors import InputError
from selfinstruct.formats import jsonl
from selfinstruct.run.appending import Appender, set_torn_tail_aside
from selfinstruct.run.folders import EvaluationDirectory

R = TypeVar("R", bound=msgspec.Struct)
Keep: TypeAlias = Callable[[str, R], None]
"""Keeps a row by its key."""
Made: TypeAlias = Callable[[int, R], None]
"""Takes a row that is complete, with its number among those that were to be made."""


@dataclass(frozen=True, slots=True)
class RowFile(Generic[R]):
    """The files of one kind of rows, two for each arm.

    Attributes:
        name: begins the names of the files.
        row: the type of the rows.
    """

    name: str
    row: type[R]


class AnswerCache:
    """The rows of a run's evaluations.

    Args:
        directory: the run's `evaluation/`; it need not exist.
    """

    def __init__(self, directory: EvaluationDirectory) -> None:
        self._directory = directory

    def path(self, file: RowFile[R], arm: str) -> Path:
        """Return where the rows of an arm's last evaluation are."""
        return self._directory.rows(file.name, arm)

    def arms(self, file: RowFile[R]) -> list[str]:
        """Return the names of the arms that have rows, sorted."""
        return self._directory.arms(file.name)

    def read(self, file: RowFile[R], arm: str) -> list[R]:
        """Return the rows of an arm's last evaluation; none when there is no file.

        Raises:
            InputError: the file cannot be read, or a line is no such row.
        """
        path = self.path(file, arm)
        return read_rows(path, file.row) if path.exists() else []

    def write(self, file: RowFile[R], arm: str, rows: Iterable[R]) -> None:
        """Replace the rows of an arm's last evaluation.

        Args:
            file: kind of rows.
            arm: name of the model.
            rows: its new rows.
        """
        jsonl.write(self.path(file, arm), (msgspec.to_builtins(row) for row in rows))

    def kept(self, file: RowFile[R], arm: str) -> dict[str, R]:
        """Return every row of an arm that was made, by its key.

        An incomplete last line, which a killed process leaves, is cut off.

        Raises:
            InputError: the file cannot be read, or a line is no such row.
        """
        path = self._directory.kept(file.name, arm)
        if not path.exists():
            return {}
        set_torn_tail_aside(path, None)
        line = msgspec.defstruct("Kept", [("key", str), ("row", file.row)])
        return {kept.key: kept.row for kept in read_rows(path, line)}  # type: ignore[attr-defined]

    @contextlib.contextmanager
    def keeping(self, file: RowFile[R], arm: str) -> Iterator[Keep[R]]:
        """Yield a function that keeps a row by its key. When it returns, the row survives the death of this process.

        A row of the same key is replaced. The function raises `SelfInstructError` on a full disk; the rows before stay.
        """
        path = self._directory.kept(file.name, arm)
        jsonl.make_directory(path.parent)
        if path.exists():
            set_torn_tail_aside(path, None)
        with Appender(path) as lines:

            def keep(key: str, row: R) -> None:
                lines.append_bytes(f"{jsonl.dumps({'key': key, 'row': msgspec.to_builtins(row)})}\n".encode())

            yield keep

    def keep(self, file: RowFile[R], arm: str, rows: Mapping[str, R]) -> None:
        """Add rows by their keys to those that are kept; a row of the same key is replaced.

        Args:
            file: kind of rows.
            arm: name of the model.
            rows: its new rows by their keys.
        """
        with self.keeping(file, arm) as keep:
            for key, row in rows.items():
                keep(key, row)


def read_rows(path: Path, row: type[R]) -> list[R]:
    """Read the rows of a file.

    Raises:
        InputError: the file cannot be read, or a line is no such row; names the line.
    """
    rows = []
    for number, values in jsonl.read(path):
        try:
            rows.append(msgspec.convert(values, row))
        except msgspec.ValidationError as error:
            raise InputError(f"{path}, line {number}: {error}; remove the file and evaluate again") from error
    return rows


def key_of(content: Any) -> str:
    """Return the SHA-256 of what determines a row; `content` is JSON values."""
    return hashlib.sha256(jsonl.dumps(content).encode()).hexdigest()
