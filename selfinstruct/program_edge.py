"""The outermost layer of every program here: turn an error into one message on stderr and an exit code.

The command line, the tuner and the evaluation use it. A signal ends a program cleanly. `errors` lists the exit codes.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from selfinstruct import environment, library_log
from selfinstruct.environment import DEBUG_VARIABLE, EXIT_CODE_FILE
from selfinstruct.errors import ConfigError, Interrupted, SelfInstructError
from selfinstruct.signals import leave, on_signals
from selfinstruct.text import printable, without_long_runs

_UNEXPECTED = 1
_REMOVED = "the working directory has been removed; change to another one, then give the command again"
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A full disk, a quota that is used up, a file above the limit."""


def run_program(
    work: Callable[[], object], *, prefix: str = "Error: ", passes: tuple[type[Exception], ...] = ()
) -> int:
    """Run a program's work and return its exit code.

    If several processes do the work together (`accelerate launch`), only the first one that fails writes a message.
    With `--debug`, a traceback comes before the message.

    Args:
        work: the program's work; what it returns is ignored.
        prefix: start of every error message.
        passes: errors that the caller handles itself.

    Returns:
        0, or the exit code of the error's kind.
    """
    # `python -m` would look for modules in the working directory first, which may be a downloaded one.
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    _write_any_character()
    try:
        _check_working_directory()
        environment.check()
        # The launcher ends its processes by a signal; our handler would not run in a process that waits for others.
        with contextlib.nullcontext() if _is_one_of_several() else on_signals(leave):
            library_log.logged(work)
    except passes:
        raise
    except Interrupted as stopped:
        if _says_itself(stopped.exit_code):
            _say(str(stopped))
        return stopped.exit_code
    except KeyboardInterrupt:
        _says_itself(128 + signal.SIGINT)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # The reader of our stdout (for example head) has ended. That is not an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the edge of the program
        code = error.exit_code if isinstance(error, SelfInstructError) else _UNEXPECTED
        if debugging():
            traceback.print_exc()
        if _says_itself(code, message_of(error)):
            _say(prefix + message_of(error))
        return code
    return 0


def message_of(error: Exception) -> str:
    """Return the message that the user sees for an error."""
    if isinstance(error, SelfInstructError):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        remedy = "; make room, then give the same command again" if error.errno in DISK_FULL else ""
        return f"{error.filename}: {error.strerror}{remedy}"
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return f"the output or a temporary file cannot be written: {error.strerror}; make room, then try again"
    if isinstance(error, FileNotFoundError) and "temporary directory" in str(error):
        return f"{error.strerror}; make room in one of these, or name another one in TMPDIR"
    if isinstance(error, FileNotFoundError) and not _in_a_directory():
        return _REMOVED
    return f"{type(error).__name__}: {error}\nThis error was not expected; --debug shows where it happened."


def _check_working_directory() -> None:
    """Raise `ConfigError` in a removed working directory: where torch computes there, MKL ends the process.

    A stage has absolute paths and may get through, so a night does not end with its folder.
    """
    if EXIT_CODE_FILE not in os.environ and not _in_a_directory():
        raise ConfigError(_REMOVED)


def _in_a_directory() -> bool:
    try:
        return Path.cwd().is_dir()
    except FileNotFoundError:
        return False


def _write_any_character() -> None:
    """Make stdout and stderr escape what their encoding lacks, as JSON does: `\\u00e9`, a character beyond as two."""
    codecs.register_error("selfinstruct", _escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="selfinstruct")


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{high:02x}{low:02x}" for high, low in zip(units[::2], units[1::2], strict=True)), error.end


def debugging() -> bool:
    """Return whether the user wants tracebacks."""
    return os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")


def _say(text: str) -> None:
    sys.stderr.write(f"{printable(without_long_runs(text))}\n")
    sys.stderr.flush()


def _is_one_of_several() -> bool:
    return "LOCAL_RANK" in os.environ


def _says_itself(code: int, message: str = "") -> bool:
    """Return whether this process is to write its message itself.

    A stage hands its exit code and its message to the chain that started it: only the first of its processes that fails
    does, and the chain says it, once. Without a chain nobody knows which process was first; then the main one speaks.
    """
    if (path := os.environ.get(EXIT_CODE_FILE)) is None:
        return not _is_one_of_several() or os.environ.get("RANK", "0") == "0"
    try:
        with Path(path).open("x") as stream:
            stream.write(f"{code}\n{message}")
    except FileExistsError:
        return False
    except OSError:  # The chain has ended and removed its folder.
        return True
    return False
