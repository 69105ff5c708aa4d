"""`selfinstruct dedup`: remove near-duplicates from any JSONL file of instructions, in one pass.

Rows are streamed, so a file may be larger than memory. Only the novelty index stays in memory: about 250 bytes per kept
row. The texts of kept instructions are in a temporary file, because a rejected row is written with its nearest one.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import sys
import tempfile
import unicodedata
import zlib
from array import array
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from selfinstruct.errors import ConfigError, InputError
from selfinstruct.formats import data_files, jsonl
from selfinstruct.formats.field_path import value_at
from selfinstruct.novelty import Neighbour, NoveltyIndex, Verdict
from selfinstruct.novelty.beside import NoveltyBeside
from selfinstruct.novelty.index import SMALL

_BATCH_ROWS = 1024
_BATCH_BYTES = 8 << 20
_FIRST_BYTES = 16 << 20  # Of rows that are read before it is known that there are few.
_AHEAD_BYTES = 4 << 20  # Of rows that are read before earlier ones are decided.
_PUNCTUATION = ".,;:!?…'\"`()[]{}«»‹›“”„‘’‚¿¡-–—。，、；：！？「」『』（）《》、،؛؟।"
_EVIDENCE = ("reason", "nearest", "score")


@dataclass(frozen=True, slots=True)
class Summary:
    """How many candidates were kept and rejected. `kept + identical + near_duplicate == candidates`.

    Attributes:
        candidates: rows read.
        kept: rows kept.
        identical: rows rejected because their instruction is an earlier one, but for case, spacing and punctuation.
        near_duplicate: rows rejected because their instruction is too similar to an earlier one.
        against: rows of the pools that the candidates are compared with.
        threshold: ROUGE-L F above which a row is rejected.
    """

    candidates: int
    kept: int
    identical: int
    near_duplicate: int
    against: int
    threshold: float

    @property
    def rejected(self) -> int:
        """Return the number of candidates that were not kept."""
        return self.identical + self.near_duplicate

    def as_dict(self) -> dict[str, Any]:
        """Return the values for `--json`."""
        return {**asdict(self), "rejected": self.rejected}

    def progress(self) -> str:
        """Return the progress so far as a sentence."""
        if not self.candidates:
            return f"dedup: {self.against:,} rows of the pool read"
        return f"dedup: {self.candidates:,} rows read, {self.kept:,} kept, {self.rejected:,} rejected"

    def sentence(self) -> str:
        """Return the result as a sentence."""
        pool = f", compared with a pool of {self.against:,} and with each other" if self.against else ""
        return (
            f"kept {self.kept:,} of {self.candidates:,} rows{pool}; rejected {self.rejected:,}: {self.identical:,} "
            f"identical, {self.near_duplicate:,} with ROUGE-L F above {self.threshold:g}"
        )


class _Row(NamedTuple):
    """A line: its bytes (without a BOM, with a newline), its instruction, and its object if that has evidence."""

    raw: bytes
    text: str
    judged: dict[str, Any] | None


class _Batch(NamedTuple):
    """Rows of one file, or the error that ends the reading."""

    rows: list[_Row]
    is_pool: bool
    error: InputError | None = None

    def texts(self) -> list[str]:
        return [row.text for row in self.rows]

    def size(self) -> int:
        return sum(len(row.raw) for row in self.rows)


def dedup(
    candidates: Path,
    against: Sequence[Path] = (),
    threshold: float = 0.7,
    field: str = "instruction",
    kept: Path | None = None,
    rejected: Path | None = None,
    progress: Callable[[Summary], None] | None = None,
) -> Summary:
    """Keep each row whose instruction has ROUGE-L F <= `threshold` to every earlier instruction.

    Earlier instructions are those of `against` and those of the rows kept before it.

    Kept rows keep their order and their bytes; blank lines are dropped. Rejected rows gain `reason` ("identical" or
    "near_duplicate"), `nearest` (the most similar earlier instruction; the first one if several are equally similar)
    and `score` (its F). Output files are written only if no error occurs.

    Args:
        candidates: a JSONL file, which may be compressed (.gz, .zst); `-` is standard input.
        against: files of rows that count as earlier. They are read first and are not written.
        threshold: ROUGE-L F above which a row is rejected, in (0, 1).
        field: the field that holds the instruction; `messages[0].content` goes into a nested one.
        kept: file for the kept rows, compressed if its name ends in .gz; `-` is standard output; None: they are not
            written.
        rejected: file for the rejected rows; `-` and None as for `kept`.
        progress: called after every batch with the summary so far.

    Raises:
        ConfigError: two options contradict each other.
        InputError: a file cannot be read or written, or a line is not valid. The message names file and line.
    """
    _check(candidates, against, threshold, kept, rejected)
    summary = Summary(0, 0, 0, 0, 0, threshold)
    with contextlib.ExitStack() as stack:
        known = stack.enter_context(_Texts())
        write_kept, write_rejected = stack.enter_context(_writer(kept)), stack.enter_context(_writer(rejected))
        decided = stack.enter_context(contextlib.closing(_decided(_all_batches(candidates, against, field), threshold)))
        for batch, verdicts in decided:
            if batch.error:
                raise batch.error
            if batch.is_pool:
                known.extend(batch.texts())
                summary = replace(summary, against=summary.against + len(batch.rows))
            else:
                known.extend(row.text for row, verdict in zip(batch.rows, verdicts, strict=True) if verdict.accepted)
                verdicts = [_named(row, verdict, known) for row, verdict in zip(batch.rows, verdicts, strict=True)]
                summary = _add(summary, verdicts)
                for row, verdict in zip(batch.rows, verdicts, strict=True):
                    if verdict.accepted:
                        write_kept(row.raw)
                    elif rejected is not None:
                        write_rejected(_with_evidence(row, verdict, known))
            if progress:
                progress(summary)
    return summary


def _check(
    candidates: Path, against: Sequence[Path], threshold: float, kept: Path | None, rejected: Path | None
) -> None:
    if not 0 < threshold < 1:
        raise ConfigError(f"threshold must be between 0 and 1, got {threshold}")
    if [candidates, *against].count(Path("-")) > 1:
        raise ConfigError("standard input (-) can be read only once: give CANDIDATES or one --against as a file")
    if kept is not None and rejected is not None and (kept == rejected or kept.resolve() == rejected.resolve()):
        raise ConfigError(f"kept and rejected rows cannot both go to {kept}")
    # The candidates may be cleaned in place: only kept rows are then left of them, which was asked for.
    for output in filter(None, (kept, rejected)):
        if output.suffix == ".zst":
            raise ConfigError(f"{output}: is not written as .zst; name it .jsonl or .jsonl.gz")
    for written, read in ((kept, against), (rejected, [candidates, *against])):
        if written is not None and written != Path("-") and written.resolve() in {path.resolve() for path in read}:
            raise ConfigError(f"{written}: is read and cannot be written; give another file")


# ----------------------------------------------------------------------------------------------------------- deciding


def _decided(batches: Iterator[_Batch], threshold: float) -> Generator[tuple[_Batch, list[Verdict]], None, None]:
    """Yield each batch with the verdicts on its rows (none on a pool's).

    As soon as there are more rows than a scan is for, another process decides, and this one reads ahead and writes.
    """
    ahead: deque[_Batch] = deque()
    rows = size = 0
    while rows <= SMALL and size <= _FIRST_BYTES and (batch := next(batches, None)):
        ahead.append(batch)
        rows, size = rows + len(batch.rows), size + batch.size()
    if rows <= SMALL:
        index = NoveltyIndex((), threshold, can_wait=True)
        while batch := ahead.popleft() if ahead else next(batches, None):
            if batch.is_pool:
                index.add_many(batch.texts())
            yield batch, [] if batch.is_pool else index.accept_batch(batch.texts())
        return
    with NoveltyBeside(threshold) as beside:
        for batch in ahead:
            beside.ask(batch.texts(), is_pool=batch.is_pool)
        for batch in batches:
            beside.ask(batch.texts(), is_pool=batch.is_pool)
            ahead.append(batch)
            size += batch.size()
            while size > _AHEAD_BYTES:
                size -= ahead[0].size()
                yield ahead.popleft(), beside.answer()
        while ahead:
            yield ahead.popleft(), beside.answer()


# ------------------------------------------------------------------------------------------------------------ reading


def _all_batches(candidates: Path, against: Sequence[Path], field: str) -> Iterator[_Batch]:
    """Yield the rows of the pools and then those of the candidates; in the end the error, if there was one.

    So what was read before a broken line is decided and written to a pipe first, however far one reads ahead.
    """
    try:
        for number, path in enumerate([*against, candidates]):
            for rows in _batches(path, field):
                yield _Batch(rows, is_pool=number < len(against))
    except InputError as error:
        yield _Batch([], False, error)


def _batches(path: Path, field: str) -> Iterator[list[_Row]]:
    """Yield the rows of a file in lists of at most 1024; shorter lists if the rows are large."""
    batch: list[_Row] = []
    size = 0
    for row in _rows(path, field):
        batch.append(row)
        size += len(row.raw)
        if len(batch) == _BATCH_ROWS or size > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _rows(path: Path, field: str) -> Iterator[_Row]:
    name = "<stdin>" if path == Path("-") else str(path)
    try:
        with _opened(path) as stream:
            for number, line in enumerate(stream, 1):
                raw = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if not raw.strip():
                    continue
                try:
                    row = jsonl.parse(raw)
                    text = _instruction(row, field)
                except ValueError as error:
                    raise InputError(f"{name}, line {number}: {error}") from error
                judged = None if row.keys().isdisjoint(_EVIDENCE) else row
                yield _Row(raw if raw.endswith(b"\n") else raw + b"\n", text, judged)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    if path == Path("-"):
        yield sys.stdin.buffer
    else:
        with data_files.opened(path) as stream:
            yield stream


def _instruction(row: dict[str, Any], field: str) -> str:
    try:
        text = value_at(row, field)
    except LookupError as error:
        raise ValueError(f"{error}; name the right one with --field") from None
    if not isinstance(text, str):
        raise ValueError(f"field `{field}` must be a string, got {type(text).__name__}")
    return text


# ------------------------------------------------------------------------------------------------------------ writing


@contextlib.contextmanager
def _writer(path: Path | None) -> Iterator[Callable[[bytes], object]]:
    """Yield a function that writes a line to `path`.

    A regular file is replaced at the end, and only if no error occurred. So it may also be an input.
    """
    if path is None:
        yield len
    elif path == Path("-"):
        if sys.stdout is None:  # The shell closed it: `>&-`.
            raise ConfigError("standard output is closed; name a file for the kept rows with -o")
        yield sys.stdout.buffer.write
        sys.stdout.buffer.flush()
    elif path.exists() and not path.is_file():  # A pipe, or /dev/null.
        with path.open("wb") as stream:
            yield stream.write
    else:
        with contextlib.ExitStack() as stack:
            try:
                stream = stack.enter_context(jsonl.atomic_path(path)).open("wb")
            except OSError as error:
                raise InputError(f"{path}: cannot be written: {error.strerror}") from error
            stack.enter_context(stream)
            if path.suffix == ".gz":
                yield stack.enter_context(gzip.GzipFile("", "wb", fileobj=stream, mtime=0)).write
            else:
                yield stream.write


def _named(row: _Row, verdict: Verdict, known: _Texts) -> Verdict:
    """Return the verdict with its exact reason: the words of "C++" and "C" are the same, but not the texts."""
    if verdict.reason != "identical" or verdict.nearest is None:
        return verdict
    same = _bare(row.text) == _bare(known[verdict.nearest.index])
    return verdict if same else verdict._replace(reason="near_duplicate")


def _bare(text: str) -> list[str]:
    """Return what lies between white space, in lower case, without punctuation at its ends."""
    parts = unicodedata.normalize("NFC", text).casefold().split()
    return [bare for part in parts if (bare := part.strip(_PUNCTUATION))]


def _with_evidence(row: _Row, verdict: Verdict, known: _Texts) -> bytes:
    """Return the row's line with the evidence appended. The other bytes stay the same if the row has no such keys."""
    nearest = verdict.nearest or Neighbour(-1, 0.0)
    evidence = {"reason": verdict.reason, "nearest": known[nearest.index], "score": nearest.score}
    if row.judged is None:
        return row.raw.rstrip().removesuffix(b"}") + b"," + _line(evidence)[1:] + b"\n"
    own = {key: value for key, value in row.judged.items() if key not in _EVIDENCE}
    return json.dumps(own | evidence, separators=(",", ":")).encode() + b"\n"


def _line(evidence: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(evidence)  # Takes a tenth of the time of the other.
    except UnicodeEncodeError:
        return jsonl.dumps(evidence).encode()


class _Texts(contextlib.AbstractContextManager["_Texts"]):
    """The instructions of the index, by position, in a temporary file."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="selfinstruct-dedup-")  # noqa: SIM115 - closed by __exit__
        self._ends = array("q", [0])

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def extend(self, texts: Iterator[str] | Sequence[str]) -> None:
        """Append texts."""
        self._file.seek(0, 2)
        for text in texts:
            raw = text.encode("utf-8", "surrogatepass")
            self._file.write(raw)
            self._ends.append(self._ends[-1] + len(raw))

    def __getitem__(self, index: int) -> str:
        begin, end = self._ends[index], self._ends[index + 1]
        self._file.seek(begin)
        return self._file.read(end - begin).decode("utf-8", "surrogatepass")


def _add(summary: Summary, verdicts: Sequence[Verdict]) -> Summary:
    identical = sum(verdict.reason == "identical" for verdict in verdicts)
    accepted = sum(verdict.accepted for verdict in verdicts)
    return replace(
        summary,
        candidates=summary.candidates + len(verdicts),
        kept=summary.kept + accepted,
        identical=summary.identical + identical,
        near_duplicate=summary.near_duplicate + len(verdicts) - accepted - identical,
    )
