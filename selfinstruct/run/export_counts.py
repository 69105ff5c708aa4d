"""`dataset/export.json`: what was exported and what was left out.

For the run itself: accepted instances = its rows + its rows that were left out. This shows that no row is lost.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import UNSET, Struct, UnsetType

from selfinstruct.errors import InputError
from selfinstruct.formats import jsonl
from selfinstruct.run.state import RunState
from selfinstruct.run.stored import read_stored


class InstructionCounts(Struct, frozen=True, kw_only=True):
    """The number of accepted instructions, and how many are in the dataset.

    Attributes:
        accepted: all of them.
        with_instances: those that have an instance.
        without_instances: those that have none; not counted for parent runs.
        left_out: those that are not in the dataset, by reason.
    """

    accepted: int
    with_instances: int
    without_instances: int | UnsetType = UNSET
    left_out: dict[str, int] = {}


class InstanceCounts(Struct, frozen=True, kw_only=True):
    """The number of accepted instances, and of those that are not in the dataset, by reason."""

    accepted: int
    left_out: dict[str, int] = {}


class ParentCounts(Struct, frozen=True, kw_only=True):
    """What parent runs add to the dataset.

    Attributes:
        runs: number of parent runs.
        instructions: instructions of the parent runs.
        instances: instances of the parent runs.
        rows: number of rows by split.
    """

    runs: int
    instructions: InstructionCounts
    instances: InstanceCounts
    rows: dict[str, int]


class MeanWords(Struct, frozen=True, kw_only=True):
    """Mean number of words of the model's texts that are not empty; None if there are none."""

    instruction: float | None = None
    input: float | None = None
    output: float | None = None


class SourceOfRows(Struct, frozen=True, kw_only=True):
    """Where rows of the dataset come from.

    Attributes:
        origin: as the rows have it.
        name: of the generator, or of the seed files.
        licence: what it says of it; empty if it says nothing.
        rows: number of rows in all splits.
        words: number of words in them.
        tokens: number of tokens in them, by the generator's tokenizer; None where it is not at hand.
    """

    origin: str
    name: str
    licence: str = ""
    rows: int
    words: int
    tokens: int | None = None


class TagCounts(Struct, frozen=True, kw_only=True):
    """The number of the run's own training rows with one tag, `before` some were selected and `after`."""

    before: int
    after: int


class ExportCounts(Struct, frozen=True, kw_only=True):
    """Everything that `export.json` holds.

    Attributes:
        instructions: instructions of the run itself.
        instances: instances of the run itself.
        include_seeds: whether the training split holds the seed tasks.
        parents: what parent runs add; stored as `earlier`, their old name.
        rows: number of rows of the whole dataset, by split.
        origins: number of rows of the whole dataset, by origin.
        mean_words: mean number of words over the whole dataset.
        sources: where the rows come from, one for each origin; absent in earlier exports.
        tags: for each kind of tag, the rows by its value, the most frequent first; those without a tag have the value
            "". Absent where nobody tagged the run.
        evaluation_unread: number of evaluation files that rows were not compared with; absent if there were none.
        card_sha256: of the card as it was written; absent in earlier exports.
        outputs_left: number of outputs that another model had still to rewrite; absent if there were none.
    """

    instructions: InstructionCounts
    instances: InstanceCounts
    include_seeds: bool
    parents: ParentCounts | UnsetType = msgspec.field(name="earlier", default=UNSET)
    rows: dict[str, int]
    origins: dict[str, int] = {}
    sources: list[SourceOfRows] | UnsetType = UNSET
    mean_words: MeanWords = MeanWords()
    outputs_left: int | UnsetType = UNSET
    tags: dict[str, dict[str, TagCounts]] | UnsetType = UNSET
    evaluation_unread: int | UnsetType = UNSET
    card_sha256: str | UnsetType = UNSET

    def is_current(self, state: RunState) -> bool:
        """Return whether the dataset holds everything that the run has now, judged by its counts."""
        exported = (self.instructions.accepted, self.instances.accepted)
        left = 0 if self.outputs_left is UNSET else self.outputs_left
        return (*exported, left) == (len(state.pool), state.num_instances, len(state.outputs_left()))


def read_export_counts(path: Path) -> ExportCounts:
    """Read what `write_export_counts` wrote.

    Raises:
        InputError: nothing was exported, or the file is damaged.
    """
    if not path.exists():
        raise InputError(f"{path} is missing; `selfinstruct export` writes it")
    return read_stored(path, ExportCounts, remedy="`selfinstruct export` writes it again")


def write_export_counts(path: Path, counts: ExportCounts) -> None:
    """Write `export.json` atomically."""
    jsonl.write_json(path, msgspec.to_builtins(counts))
