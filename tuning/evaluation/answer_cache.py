"""The files in which an evaluation keeps its rows, so that nothing is asked twice.

evaluation/<name>-<arm>.jsonl   one row a line; each module of this folder that makes rows has its `RowFile`
evaluation/<name>-<arm>.key     hash of all that determines the rows; while it is the same, they are up to date
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from selfinstruct.errors import InputError
from selfinstruct.formats import jsonl
from selfinstruct.run.folders import EvaluationDirectory

R = TypeVar("R", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class RowFile(Generic[R]):
    """The files of one kind of rows, one for each arm.

    Attributes:
        name: begins the names of the files.
        row: the type of the rows.
    """

    name: str
    row: type[R]


class AnswerCache:
    """The kept rows of a run's evaluation.

    Args:
        directory: the run's `evaluation/`; it need not exist.
    """

    def __init__(self, directory: EvaluationDirectory) -> None:
        self._directory = directory

    def path(self, file: RowFile[R], arm: str) -> Path:
        """Return where the rows of an arm are kept."""
        return self._directory.rows(file.name, arm)

    def arms(self, file: RowFile[R]) -> list[str]:
        """Return the names of the arms whose rows are kept, sorted."""
        return self._directory.arms(file.name)

    def read(self, file: RowFile[R], arm: str) -> list[R]:
        """Return the kept rows; none when there is no file.

        Raises:
            InputError: the file cannot be read, or a line is no such row.
        """
        path = self.path(file, arm)
        return read_rows(path, file.row) if path.exists() else []

    def is_current(self, file: RowFile[R], arm: str, key: str) -> bool:
        """Return whether rows are kept that were made with this key."""
        path = self._directory.key(file.name, arm)
        return self.path(file, arm).exists() and path.exists() and path.read_text(encoding="utf-8").strip() == key

    def write(self, file: RowFile[R], arm: str, rows: Sequence[R], key: str) -> None:
        """Write rows and their key. A process that dies in between leaves rows without a key; they are made again."""
        path = self._directory.key(file.name, arm)
        path.unlink(missing_ok=True)
        self.replace(file, arm, rows)
        jsonl.write_text(path, key + "\n")

    def replace(self, file: RowFile[R], arm: str, rows: Sequence[R]) -> None:
        """Write rows that have the same key as those before them."""
        jsonl.write(self.path(file, arm), (msgspec.to_builtins(row) for row in rows))


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
    """Return the SHA-256 of what determines rows; `content` is JSON values."""
    return hashlib.sha256(jsonl.dumps(content).encode()).hexdigest()
