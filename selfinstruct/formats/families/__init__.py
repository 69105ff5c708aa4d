"""The dataset families: how the rows of each are read, and how they are written.

One file per family. `recognise` tells the family by the content of the first records. To add one, write its file and an
entry in `FAMILIES`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from selfinstruct.errors import InputError
from selfinstruct.formats.data_files import Record
from selfinstruct.formats.families import (
    alpaca,
    chat,
    flan,
    openassistant,
    self_instruct,
    sharegpt,
    super_natural_instructions,
)
from selfinstruct.formats.families.dataset_row import DatasetRow, Dropped, Read
from selfinstruct.formats.families.openassistant import TreeOptions

Writer = Callable[[DatasetRow], tuple[dict[str, Any], list[str]]]

PROBED = 20
"""Records whose form tells the family."""


@dataclass(frozen=True, slots=True)
class Family:
    """One family of datasets.

    Attributes:
        name: as options name it.
        about: one line for people.
        recognises: whether a record has its form.
        read: yields the rows of a record.
        write: returns the record of a row, and what it cannot hold; None for a family that is only read.
        of_people: whether people are known to have written its tasks.
    """

    name: str
    about: str
    recognises: Callable[[dict[str, Any]], bool]
    read: Callable[[dict[str, Any]], Read]
    write: Writer | None = None
    of_people: bool = False


FAMILIES: tuple[Family, ...] = (
    Family(
        "self-instruct",
        "tasks with instances, and the other files of the reference code",
        self_instruct.recognises,
        self_instruct.read,
        self_instruct.write,
    ),
    Family("alpaca", "instruction, input, output", alpaca.recognises, alpaca.read, alpaca.write),
    Family(
        "super-natural-instructions",
        "task files with a definition and instances",
        super_natural_instructions.recognises,
        super_natural_instructions.read,
        of_people=True,
    ),
    Family(
        "openassistant",
        "conversation trees: trees, messages, threads, the Hub's rows",
        openassistant.recognises,
        openassistant.read,
        of_people=True,
    ),
    Family("flan", "inputs and targets; chain-of-thought TSV", flan.recognises, flan.read, flan.write),
    Family("messages", "OpenAI chat messages", chat.is_messages, chat.read_messages, chat.write_messages),
    Family(
        "prompt-completion",
        "prompt and completion, as TRL takes them",
        chat.is_prompt_completion,
        chat.read_prompt_completion,
        chat.write_prompt_completion,
    ),
    Family(
        "preference",
        "chosen and rejected answers, as TRL takes them",
        chat.is_preference,
        chat.read_preference,
        chat.write_preference,
    ),
    Family("sharegpt", "conversations of human and gpt", sharegpt.recognises, sharegpt.read, sharegpt.write),
)


def family_named(name: str) -> Family:
    """Return a family by its name.

    Raises:
        InputError: there is none of that name.
    """
    for family in FAMILIES:
        if family.name == name:
            return family
    raise InputError(f"{name!r} is no dataset family; choose one of {', '.join(family.name for family in FAMILIES)}")


def recognise(source: str, first: Iterable[Record]) -> Family:
    """Return the family whose form most of the first records have. A single odd one hides no family.

    Args:
        source: for errors.
        first: the first records; those that cannot be read say nothing.

    Raises:
        InputError: no family fits, or several do.
    """
    probed = list(first)
    values = [record.value for record in probed if record.value is not None]
    if not values:
        why = f"{probed[0]}: {probed[0].problem}" if probed else f"{source}: holds no record"
        raise InputError(f"{why}; without a record that can be read its form is not known: correct the file")
    counts = {family.name: sum(map(family.recognises, values)) for family in FAMILIES}
    most = max(counts.values())
    fitting = [family for family in FAMILIES if counts[family.name] == most and 2 * most > len(values)]
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(family.name for family in fitting or FAMILIES)
    keys = _keys(values[0])
    if not fitting:
        if most:
            some = ", ".join(f"{count} of {name}" for name, count in counts.items() if count)
            raise InputError(
                f"{source}: of the first {len(values)} records, {some} and the others of no known form; say which "
                "with --from, or put them into files of their own"
            )
        raise InputError(f"{source}: of no known form (keys of the first record: {keys}); known are {names}")
    raise InputError(f"{source}: its form fits several families: {names}; say which with --from (keys: {keys})")


def _keys(value: dict[str, Any]) -> str:
    return ", ".join(f"`{key[:60]}`" for key in list(value)[:12])


@dataclass(frozen=True, slots=True)
class Broken:
    """A record that cannot be read, with file, place and field."""

    problem: str


def rows(
    source: str, records: Iterator[Record], family: Family | None = None, trees: TreeOptions | None = None
) -> Iterator[DatasetRow | Dropped | Broken]:
    """Yield all rows of records.

    Args:
        source: for errors.
        records: of one file, folder or dataset.
        family: theirs; default: recognised by the first records.
        trees: which paths of conversation trees are read.

    Raises:
        InputError: the family cannot be recognised, or nothing behind a broken place can be read.
    """
    first = list(itertools.islice(records, PROBED))
    family = family or recognise(source, first)
    stream = itertools.chain(first, records)
    if family.name == "openassistant":
        yield from _of_trees(stream, replace(family, read=partial(openassistant.read, options=trees or TreeOptions())))
        return
    if trees not in (None, TreeOptions()):
        raise InputError(
            f"{source}: {family.name} has no conversation trees, so --paths, --language, --synthetic, --reviewed, "
            "--min-label and --max-label select nothing in it; leave them out"
        )
    for record in stream:
        if family.name == "super-natural-instructions":
            name = Path(record.file).name.split(".")[0]
            family = replace(family, read=partial(super_natural_instructions.read, name=name))
        yield from _of_record(record, family)


def _of_record(record: Record, family: Family) -> Iterator[DatasetRow | Dropped | Broken]:
    if record.value is None:
        yield Broken(f"{record}: {record.problem}")
        return
    read: list[DatasetRow | Dropped | Broken] = []
    try:
        read += family.read(record.value)
    except ValueError as error:
        read = [Broken(f"{record}: {error}")]
    if not all(isinstance(row, DatasetRow) for row in read) and (other := _of_another(record.value, family)):
        yield Broken(f"{record}: has the form of {other}, not of {family.name}")
    else:
        yield from read


def _of_another(value: dict[str, Any], family: Family) -> str:
    """Return the family of a record that is not of the one that is read; empty if it is, or of none."""
    others = [] if family.recognises(value) else [other.name for other in FAMILIES if other.recognises(value)]
    return ", ".join(others)


def _of_trees(stream: Iterator[Record], family: Family) -> Iterator[DatasetRow | Dropped | Broken]:
    """Yield the rows of trees. Flat messages are collected first, since a reply may come before its parent."""
    flat: list[dict[str, Any]] = []
    file = ""
    for record in stream:
        if record.value is not None and openassistant.is_flat(record.value):
            flat.append(record.value)
            file = record.file
        else:
            yield from _of_record(record, family)
    for tree in openassistant.assemble(flat):
        if isinstance(tree, Dropped):
            yield tree
            continue
        yield from _of_record(Record(file, f"message {tree['message_id']}", tree), family)


__all__ = ["FAMILIES", "Broken", "DatasetRow", "Dropped", "Family", "TreeOptions", "family_named", "recognise", "rows"]
