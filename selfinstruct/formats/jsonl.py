"""JSON Lines: read with errors that name the line, write atomically.

Only the byte b"\\n" ends a line (`str.splitlines` would also cut at U+2028). Every line written is valid UTF-8: text
that UTF-8 cannot hold (lone surrogates in a model's output) is written with JSON escapes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import json
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from selfinstruct.errors import InputError

_PARTIAL = ".partial"
# Made once: `json.dumps` makes a new encoder for every row.
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def dumps(row: Any) -> str:
    """Return one line of compact JSON, without its newline. Keys keep their order.

    Characters outside ASCII stay as they are. If UTF-8 cannot hold the text, they are escaped.
    """
    text = _encode(row)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(row, separators=(",", ":"), allow_nan=False)
    return text


def parse(raw: bytes) -> dict[str, Any]:
    """Return the JSON object in one line. A BOM before it is accepted.

    Raises:
        ValueError: the line is not UTF-8, not JSON or not an object.
    """
    try:
        return _decode(raw)  # Takes a tenth of the time, and refuses more.
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    import jsonlines  # Heavy, and rarely needed.

    raw = raw.rstrip(b"\r\n")  # Else a line that ends too early has its error in the next line's first column.
    try:
        row = jsonlines.Reader([raw], loads=_loads).read(allow_none=True)
    except jsonlines.InvalidLineError as error:
        why = error.__cause__ or error
        if isinstance(why, json.JSONDecodeError):
            why = ValueError(f"{why.msg.removesuffix(' at')} at column {why.colno}")
        raise ValueError(f"not valid JSON: {why}; the line begins {raw[:80]!r}") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(row, dict):
        raise ValueError(f"expected a JSON object, got {type(row).__name__}: {raw[:80]!r}")
    return row


def _loads(text: str | bytes) -> Any:
    return json.loads(text, parse_constant=_refuse_constant, parse_int=integer)


def integer(digits: str) -> int:
    """Return the value of an integer.

    Raises:
        ValueError: it has more digits than Python reads, whose own message speaks of Python.
    """
    try:
        return int(digits)
    except ValueError:
        raise ValueError(f"a number has {len(digits):,} digits") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def read(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, row) of a user's file. Blank lines, a BOM and CRLF are accepted.

    Raises:
        InputError: the file cannot be read, or a line is not UTF-8, not JSON or not a JSON object. The message names
            the line.
    """
    try:
        with path.open("rb") as stream:
            for number, raw in enumerate(stream, 1):
                if raw.strip():
                    try:
                        row = parse(raw)
                    except ValueError as error:
                        raise InputError(f"{path}, line {number}: {error}") from error
                    yield number, row
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`. When the block ends without an error, it replaces `path`.

    The file is fsynced first. After an error `path` is unchanged. Temporary files of killed processes are removed.

    Raises:
        InputError: a folder is in the way.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder, and a file is to be written there; move it away")
    make_directory(path.parent)
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*{_PARTIAL}"):
        _remove_unless_locked(leftover)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{_PARTIAL}")
    # Not `mkstemp`, whose files only their owner can read: who may read the file is decided by the umask.
    try:
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except OSError as error:
        error.filename = str(path)  # Nobody knows the temporary name.
        raise
    try:
        with contextlib.suppress(OSError):  # Not every network file system has locks.
            fcntl.flock(handle, fcntl.LOCK_SH)  # Ends with its process; tells others that the file is in use.
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
        fsync_directory(path.parent)
    except OSError as error:
        error.filename = error.filename or str(path)  # The error of a full disk names no file.
        raise
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)


def _remove_unless_locked(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object that a file holds.

    Raises:
        InputError: the file cannot be read, or holds no JSON object.
    """
    try:
        value = json.loads(path.read_bytes(), parse_int=integer)
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: cannot be read as JSON: {reason}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value


def write(path: Path, rows: Iterable[Any]) -> int:
    """Write `rows` atomically as JSON Lines. Return their number."""
    count = 0
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        for row in rows:
            stream.write(dumps(row) + "\n")
            count += 1
    return count


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically. Characters that UTF-8 cannot hold are escaped."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write an indented JSON file atomically."""
    try:
        text = json.dumps(value, ensure_ascii=False, indent=2)
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=2)
    write_text(path, text + "\n")


def make_directory(path: Path) -> None:
    """Create a directory and its parents so that they survive power loss."""
    path = path.absolute()
    missing = [p for p in (path, *path.parents) if not p.exists()]
    # A process may have created the last existing one and been killed before it could fsync.
    existing = missing[-1].parent if missing else path
    with contextlib.suppress(PermissionError):
        fsync_directory(existing.parent)
    for made in reversed(missing):
        made.mkdir(exist_ok=True)
        fsync_directory(made.parent)


def fsync_directory(path: Path) -> None:
    """Make a rename or a new file in `path` survive power loss, if the file system supports that."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            raise
    finally:
        os.close(handle)
