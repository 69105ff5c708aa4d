"""Convert a dataset of one family into the form that another tool reads.

Rows stream from file to file. Every record ends as a row, or is counted: dropped with a reason, or broken with its
place. What the target cannot hold is counted, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

from selfinstruct.errors import InputError
from selfinstruct.formats import data_files, families, jsonl
from selfinstruct.formats.data_files import Record
from selfinstruct.formats.families import Broken, DatasetRow, Dropped, Family, TreeOptions, self_instruct

OnError = Literal["stop", "skip"]

_MOST_SHOWN = 20
_BATCH = 1000
_ARRAYS = ("alpaca", "sharegpt")
"""Families whose files are one JSON array by custom."""


@dataclass
class Conversion:
    """What a conversion did.

    Attributes:
        source: the family that was read.
        target: the family that was written.
        rows: number of rows written.
        dropped: number of rows left out, by reason.
        broken: records that could not be read: file, place, problem. Only the first twenty are kept.
        num_broken: their number.
        lost: number of rows of which something was lost, by what was lost.
        preferences: number of rows written with a rejected answer.
        fields: names of the fields of the written rows.
    """

    source: str
    target: str
    rows: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    num_broken: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    preferences: int = 0
    fields: set[str] = field(default_factory=set)

    def to_json(self) -> dict[str, Any]:
        """Return the numbers as JSON values."""
        return {
            "source": self.source,
            "target": self.target,
            "rows": self.rows,
            "dropped": dict(self.dropped.most_common()),
            "broken": self.num_broken,
            "lost": dict(self.lost.most_common()),
        }

    def sentences(self) -> list[str]:
        """Return the numbers as lines for people."""
        lines = [f"{self.source} -> {self.target}: {_rows(self.rows)}"]
        lines += [f"  dropped: {count:,} x {reason}" for reason, count in self.dropped.most_common()]
        lines += [f"  lost: {what} of {_rows(count)}" for what, count in self.lost.most_common()]
        if self.num_broken:
            lines.append(f"  broken: {self.num_broken:,} records, left out:")
            lines += [f"    {problem}" for problem in self.broken]
            if self.num_broken > len(self.broken):
                lines.append(f"    ... and {self.num_broken - len(self.broken):,} more")
        return lines


def _rows(number: int) -> str:
    return f"{number:,} row{'' if number == 1 else 's'}"


def read_rows(
    source: str | Path,
    *,
    family: Family | None = None,
    trees: TreeOptions | None = None,
    on_error: OnError = "stop",
    conversion: Conversion | None = None,
    records: Iterator[Record] | None = None,
) -> Iterator[DatasetRow]:
    """Yield the rows of a dataset of any family.

    Args:
        source: a file, a folder of files, or the name of a dataset on the Hub.
        family: its family; default: recognised by its content.
        trees: which paths of conversation trees are read.
        on_error: what to do about a record that cannot be read.
        conversion: counts what is left out.
        records: those of the source, where reading has begun; None: they are read here.

    Raises:
        InputError: a file cannot be read, its family is unknown, or a record cannot be read and `on_error` is `stop`.
    """
    conversion = conversion or Conversion("", "")
    for row in families.rows(str(source), records or data_files.records(source), family, trees):
        if isinstance(row, DatasetRow):
            yield row
        elif isinstance(row, Dropped):
            conversion.dropped[row.reason] += 1
        else:
            _count_broken(row, on_error, conversion)


def _count_broken(broken: Broken, on_error: OnError, conversion: Conversion) -> None:
    if on_error == "stop":
        raise InputError(f"{broken.problem}; correct it, or leave such records out with --on-error skip")
    conversion.num_broken += 1
    if len(conversion.broken) < _MOST_SHOWN:
        conversion.broken.append(broken.problem)


def convert(
    source: str | Path,
    target: Path,
    *,
    to: Family,
    family: Family | None = None,
    trees: TreeOptions | None = None,
    on_error: OnError = "stop",
    progress: Callable[[int], None] = lambda rows: None,
) -> Conversion:
    """Write a dataset in the form of another family, atomically.

    Args:
        source: a file, a folder of files, or the name of a dataset on the Hub.
        target: the file to write: `.jsonl`, `.json` (one array) or `.parquet`.
        to: its family.
        family: the source's family; default: recognised by its content.
        trees: which paths of conversation trees are read.
        on_error: what to do about a record that cannot be read.
        progress: is given the number of rows now and then.

    Raises:
        InputError: as `read_rows`; or the target is the source, its suffix is unknown, or there is no row to write.
    """
    write = to.write
    if write is None:
        writable = ", ".join(one.name for one in families.FAMILIES if one.write)
        raise InputError(f"{to.name} is only read; write one of {writable}")
    data_files.require_other(source, target)
    records = data_files.records(source)  # Read once: a pipe cannot be read again.
    if family is None:
        first = list(islice(records, families.PROBED))
        family = families.recognise(str(source), first)
        records = chain(first, records)
    done = Conversion(family.name, to.name)

    def written() -> Iterator[dict[str, Any]]:
        rows = read_rows(source, family=family, trees=trees, on_error=on_error, conversion=done, records=records)
        for row in rows:
            if not row.is_text:
                done.dropped["with characters that are no text"] += 1
                continue
            record, lost = write(row)
            done.lost.update(lost)
            if not record:
                done.dropped["no rejected answer"] += 1
                continue
            done.rows += 1
            done.preferences += "rejected" in record
            done.fields.update(record)
            if done.rows % _BATCH == 0:
                progress(done.rows)
            yield record

    made = self_instruct.as_tasks(written()) if to.name == "self-instruct" else written()
    write_records(target, made, lambda: _require_rows(source, done))
    return done


def _require_rows(source: str | Path, done: Conversion) -> None:
    if not done.rows:
        reasons = [f"{count:,} x {reason}" for reason, count in done.dropped.most_common()]
        why = "; ".join([*reasons, *([f"{done.num_broken:,} broken: {done.broken[0]}"] if done.broken else [])])
        raise InputError(f"{source}: no row can be written as {done.target}" + (f" ({why})" if why else ""))


def write_records(target: Path, records: Iterable[dict[str, Any]], check: Callable[[], None]) -> None:
    """Write records atomically; the suffix says how.

    Args:
        target: the file.
        records: JSON objects.
        check: called after the last record, before the file replaces an old one; an error keeps the old one.

    Raises:
        InputError: the suffix is unknown.
    """
    writers = {".jsonl": _write_lines, ".json": _write_array, ".parquet": _write_parquet}
    if target.suffix not in writers:
        raise InputError(f"{target}: its suffix must be one of {', '.join(writers)}")
    with jsonl.atomic_path(target) as temporary:
        writers[target.suffix](temporary, records)
        check()


def _write_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        for record in records:
            stream.write(jsonl.dumps(record) + "\n")


def _write_array(path: Path, records: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        between = "[\n"
        for record in records:
            stream.write(between + jsonl.dumps(record))
            between = ",\n"
        stream.write("\n]\n" if between == ",\n" else "[]\n")


def _write_parquet(path: Path, records: Iterable[dict[str, Any]]) -> None:
    import pyarrow
    from pyarrow import parquet

    writer = None
    iterator = iter(records)
    try:
        while batch := list(islice(iterator, _BATCH)):
            table = pyarrow.Table.from_pylist([_without_surrogates(record) for record in batch])
            if writer is None:
                writer = parquet.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table.cast(writer.schema) if table.schema != writer.schema else table)
    finally:
        if writer is not None:
            writer.close()


def _without_surrogates(value: Any) -> Any:
    """Return a value whose texts UTF-8 can hold: Parquet has no escapes for lone surrogates."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, list):
        return [_without_surrogates(one) for one in value]
    return {key: _without_surrogates(one) for key, one in value.items()} if isinstance(value, dict) else value


def default_target(source: str | Path, to: Family) -> Path:
    """Return a name for the converted file, in the working directory."""
    stem = Path(str(source).rstrip("/")).name.split(".")[0] or "dataset"
    return Path(f"{stem}.{to.name}{'.json' if to.name in _ARRAYS else '.jsonl'}")
