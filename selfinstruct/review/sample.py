"""The rows that people read: the same ones for everybody, so that their agreement can be measured."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from selfinstruct.errors import InputError
from selfinstruct.replay.show import ShownRow, rows
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.reviews import Review, add_review, fingerprint


@dataclass(frozen=True)
class Reading:
    """A run whose rows are read.

    Attributes:
        path: the file of the answers.
        rows: the sample, in the order in which it is read.
    """

    path: Path
    rows: list[ShownRow]

    @classmethod
    def of(cls, run: Path, size: int, seed: int) -> Reading:
        """Draw a sample of a run, the same whenever it is drawn with the same seed; a run that grows keeps most of it.

        Args:
            run: directory of the run.
            size: rows to draw.
            seed: of the draw.

        Raises:
            InputError: `run` is no run directory, or has no rows.
        """
        shown_rows = rows(run)
        if not shown_rows:
            raise InputError(f"{run}: there are no rows to review yet; see `selfinstruct status {run}`")
        order = sorted(shown_rows, key=lambda row: hashlib.sha256(f"{seed}/{row.id}".encode()).digest())
        return cls(RunDirectory(run).reviews_path, order[:size])

    def answered(self, reviews: Iterable[Review], reviewer: str) -> dict[str, Review]:
        """Return a person's answers about rows of the sample as they are now, by id."""
        texts = {row.id: _text(row) for row in self.rows}
        return {one.row: one for one in reviews if one.reviewer == reviewer and texts.get(one.row) == one.text}

    def add(self, reviewer: str, row_id: str, *, task: bool, input_fits: bool, output: bool) -> None:
        """Keep the answers of a person about a row.

        Args:
            reviewer: the person's name.
            row_id: a row of the sample.
            task: whether the instruction is a valid task.
            input_fits: whether the input is appropriate.
            output: whether the output is right.

        Raises:
            InputError: the row is not in the sample, or the name is empty or long.
            SelfInstructError: the file cannot be written.
        """
        name = reviewer.strip()
        if not 0 < len(name) <= 60 or not name.isprintable():
            raise InputError(f"the reviewer's name must have 1 to 60 printable characters, got {reviewer[:80]!r}")
        row = next((row for row in self.rows if row.id == row_id), None)
        if row is None:
            raise InputError(f"row {row_id[:40]!r} is not in the sample")
        add_review(self.path, Review(row.id, _text(row), name, task, input_fits, output))


def _text(row: ShownRow) -> str:
    return fingerprint(row.instruction, row.input, row.output)
