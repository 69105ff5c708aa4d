"""The records of data files, read one at a time: JSON Lines, JSON, Parquet, TSV; also compressed, and folders of them.

    file.jsonl   file.json   file.parquet   file.tsv   file.jsonl.gz   file.json.zst   folder/
    owner/name                                              a dataset on the Hub, read by the library `datasets`

A JSON file holds an array of records, or one record. Memory does not grow with the size of a file, except for a JSON
file that holds one record.
"""

from __future__ import annotations

import gzip
import io
import itertools
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from selfinstruct.errors import InputError
from selfinstruct.formats import json_array, jsonl

COLUMNS = "columns"
"""Key of a TSV line's texts, where the file names no columns."""
SUFFIXES = (".jsonl", ".json", ".ndjson", ".parquet", ".tsv")
COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
_DESCRIPTIONS = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")
"""Files of the library `datasets` and of LLaMA-Factory, which lie beside data files."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,40}")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a file.

    Attributes:
        file: the file, or the dataset on the Hub.
        where: its place there: "line 17", "record 3".
        value: the record; None if it cannot be read.
        problem: why it cannot be read; empty if it can.
    """

    file: str
    where: str
    value: dict[str, Any] | None
    problem: str = ""

    def __str__(self) -> str:
        return f"{self.file}, {self.where}"


def files_of(name: str | Path) -> list[Path]:
    """Return the data files that a path names: the file, or those of a folder, in the order of their names.

    Of a folder, hidden files and files that describe data sets are left out.

    Raises:
        InputError: there is no such file, or the folder holds no data file.
    """
    path = Path(name)
    if not path.is_dir():
        if not path.exists():
            raise InputError(f"{path}: no such file")
        return [path]
    files = sorted(file for file in path.rglob("*") if _kind(file) and file.is_file() and _is_data(file, path))
    if not files:
        raise InputError(f"{path}: holds no data file; one ends in {', '.join(SUFFIXES)}, or with .gz or .zst behind")
    return files


def _is_data(file: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return not hidden and file.name not in _DESCRIPTIONS


def is_hub_name(name: str | Path) -> bool:
    """Return whether a name is that of a dataset on the Hub: `owner/name`, where no such file exists."""
    return _HUB_NAME.fullmatch(str(name)) is not None and not Path(name).exists() and not _kind(Path(name))


def require_other(source: str | Path, target: Path) -> None:
    """Raise `InputError` if a target is among the files of its source, which would be lost."""
    if Path(source).exists() and target.resolve() in {path.resolve() for path in files_of(source)}:
        raise InputError(f"{target}: is read and cannot be written; give another file")


def records(name: str | Path) -> Iterator[Record]:
    """Yield the records of a file, of all files of a folder, or of a dataset's training split on the Hub.

    A broken line is a record with a problem, and reading goes on behind it.

    Raises:
        InputError: a file cannot be read, or is broken so that nothing behind it can be read.
    """
    if is_hub_name(name):
        yield from _of_hub(str(name))
        return
    for file in files_of(name):
        yield from _of_file(file)


def _kind(file: Path) -> str:
    """Return the suffix that says how a file is read; empty for one that is no data file."""
    suffix = Path(file.stem).suffix if file.suffix in COMPRESSED else file.suffix
    return suffix if suffix in SUFFIXES else ""


def _of_file(file: Path) -> Iterator[Record]:
    kind = _kind(file)
    try:
        if kind == ".parquet":
            yield from _of_parquet(file)
            return
        with opened(file) as stream:
            if kind == ".tsv":
                yield from _of_tsv(file, stream)
            elif _is_array(stream):
                yield from _of_array(file, stream)
            elif kind == ".json" and not _first_line_is_whole(stream):
                yield Record(str(file), "record 1", _whole(file, stream))
            else:
                yield from _of_lines(file, stream)
    except (OSError, EOFError, zlib.error) as error:  # The module gzip lets the last pass.
        said = getattr(error, "strerror", None) or str(error).strip().partition("\n")[0]
        raise InputError(f"{file}: cannot be read: {said}") from error


@contextmanager
def opened(file: Path) -> Iterator[io.BufferedReader]:
    """Open a file for reading, decompressed."""
    with file.open("rb") as raw:
        packed = COMPRESSED.get(file.suffix) or ("gzip" if raw.peek(2)[:2] == b"\x1f\x8b" else "")
        if packed == "gzip":
            with gzip.open(raw) as unpacked:
                yield io.BufferedReader(unpacked, 1 << 20)
        elif packed == "zstd":
            import pyarrow

            with pyarrow.input_stream(raw, compression="zstd") as unpacked:
                yield io.BufferedReader(unpacked, 1 << 20)
        else:
            yield raw


def _peek(stream: io.BufferedReader) -> bytes:
    return stream.peek(1 << 16).removeprefix(b"\xef\xbb\xbf").lstrip()


def _is_array(stream: io.BufferedReader) -> bool:
    return _peek(stream)[:1] == b"["


def _first_line_is_whole(stream: io.BufferedReader) -> bool:
    """Return whether the first line is a record of its own, as in a JSON Lines file that is named .json."""
    line, end, _ = _peek(stream).partition(b"\n")
    try:
        jsonl.parse(line)
    except ValueError:
        return False
    return bool(end)


def _of_lines(file: Path, stream: IO[bytes]) -> Iterator[Record]:
    for number, raw in enumerate(stream, 1):
        if not raw.strip():
            continue
        try:
            yield Record(str(file), f"line {number}", jsonl.parse(raw))
        except ValueError as error:
            yield Record(str(file), f"line {number}", None, str(error))


def _of_array(file: Path, stream: IO[bytes]) -> Iterator[Record]:
    number = 0
    try:
        for number, (value, problem) in enumerate(json_array.elements(stream), 1):
            if not problem and not isinstance(value, dict):
                problem = f"expected an object, got {type(value).__name__}"
            yield Record(str(file), f"record {number}", None if problem else value, problem)
    except ValueError as error:
        raise InputError(f"{file}, record {number + 1}: not valid JSON: {error}") from error


def _whole(file: Path, stream: IO[bytes]) -> dict[str, Any]:
    try:
        return jsonl.parse(stream.read())
    except ValueError as error:
        raise InputError(f"{file}: {error}") from error


def _of_tsv(file: Path, stream: IO[bytes]) -> Iterator[Record]:
    lines = (raw.decode("utf-8", "surrogateescape").rstrip("\r\n") for raw in stream)
    names: list[str] | None = None
    for number, line in enumerate(lines, 1):
        fields = line.split("\t")
        if number == 1:
            fields[0] = fields[0].removeprefix("\ufeff")
            if len(fields) > 1 and all(_NAME.fullmatch(text) for text in fields):
                names = fields
                continue
        if not line.strip():
            continue
        problem = _problem_of_fields(fields, names, line)
        value = None if problem else dict(zip(names, fields, strict=True)) if names else {COLUMNS: fields}
        yield Record(str(file), f"line {number}", value, problem)


def _problem_of_fields(fields: list[str], names: list[str] | None, line: str) -> str:
    try:
        line.encode()
    except UnicodeEncodeError:
        return "not UTF-8"
    if names and len(fields) != len(names):
        return f"has {len(fields)} columns, but the first line names {len(names)}"
    return ""


def _of_parquet(file: Path) -> Iterator[Record]:
    import pyarrow
    from pyarrow import parquet

    try:
        batches = parquet.ParquetFile(file).iter_batches(batch_size=256)
        rows = itertools.chain.from_iterable(map(_rows_of_batch, batches))
        for number, row in enumerate(rows, 1):
            yield Record(str(file), f"row {number}", row, "not UTF-8" if row is None else "")
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:  # The latter where a name is damaged.
        raise InputError(f"{file}: not a readable Parquet file: {str(error).splitlines()[0]}") from error


def _rows_of_batch(batch: Any) -> Iterator[dict[str, Any] | None]:
    """Yield the rows of a batch of Parquet; None for one whose text is not UTF-8."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for k in range(batch.num_rows):
            try:
                yield from batch.slice(k, 1).to_pylist()
            except UnicodeDecodeError:
                yield None


def _of_hub(name: str) -> Iterator[Record]:
    import datasets

    try:
        rows: Iterable[dict[str, Any]] = datasets.load_dataset(name, split="train", streaming=True)
        for number, row in enumerate(rows, 1):
            yield Record(name, f"row {number}", dict(row))
    except Exception as error:  # What can fail there is of many libraries: network, access, formats.
        what = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"{name}: no such file, and the dataset on the Hub cannot be read: {what[0][:200]}") from error
