"""What libraries write to stdout and stderr goes into a file, line by line, and the terminal stays the program's own.

vLLM, transformers and TRL log a lot, through loggers of their own, through `print`, from C++ and from processes that
they start. So the descriptors 1 and 2 of this process become a pipe, which every process that it starts inherits, and
another process writes what comes out of it (see `library_log_writer`): it also gets the last words of a process that is
killed. The console goes on writing to the terminal.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import logging
import os
import subprocess
import sys
import termios
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selfinstruct.errors import SelfInstructError

_MOST_BYTES = 8 << 20
"""Bytes of the log; then it is renamed, and a new one begins: both together stay below twice as much."""
_DRAINED_S = 2.0
"""Seconds that the end waits for what is still in the pipe."""


@dataclasses.dataclass(frozen=True)
class _Log:
    path: Path
    writer: subprocess.Popen[bytes]
    stdout: int
    stderr: int
    terminal: Any
    before: Any
    began: int


_open: list[_Log] = []
"""The log of this process, if there is one."""
_parents: list[tuple[Path, int]] = []
"""The log of the process that started this one, and its size at that time."""


def begin(path: Path, stage: str) -> None:
    """Send what libraries write from now on into a file, until `end`. Do nothing if that is so already.

    Lines are appended, each with the time and the stage; control characters are shown as escapes. A file that cannot
    be opened costs the lines, and nothing else.

    Args:
        path: the file; its folder exists.
        stage: what this process does, in a word.
    """
    from selfinstruct.console import console, is_verbose  # Not above: every command imports this module.

    if _open:
        return
    try:
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        console.print(f"{path} cannot be written ({error.strerror}): what libraries say is not kept", markup=False)
        file = os.open(os.devnull, os.O_RDWR)
    reads, writes = os.pipe()
    began = os.fstat(file).st_size
    command = [sys.executable, "-P", "-m", "selfinstruct.library_log_writer", str(path), str(file), stage]
    command += [str(_MOST_BYTES), *(["--show"] if is_verbose() else [])]
    # In a group of its own: a Ctrl-C ends the stage, whose last lines are then still to be written.
    writer = subprocess.Popen(
        command, stdin=reads, stdout=subprocess.DEVNULL, pass_fds=[file], process_group=0, env=_light_environment()
    )
    os.close(file)
    os.close(reads)
    _flush()
    stdout, stderr = os.dup(1), os.dup(2)
    before, terminal = console.file, None
    if _is_descriptor_2(sys.stderr):  # Else a test has put something else in its place, which needs no copy.
        terminal = console.file = os.fdopen(os.dup(2), "w", encoding=sys.stderr.encoding, errors="backslashreplace")
    os.dup2(writes, 1)
    os.dup2(writes, 2)
    os.close(writes)
    _open.append(_Log(path, writer, stdout, stderr, terminal, before, began))
    _hear_vllm()


def go_on_in(path: Path) -> None:
    """Note that stdout and stderr of this process already go into the log of the process that started it."""
    with contextlib.suppress(OSError):
        _parents[:] = [(path, path.stat().st_size)]


def end() -> None:
    """Give the terminal back to this process. Do nothing without a log."""
    if not _open:
        return
    log = _open.pop()
    _silence_vllm()
    if log.terminal is not None:
        from selfinstruct.console import console

        console.file = log.before
        log.terminal.close()
    _flush()
    deadline = time.monotonic() + _DRAINED_S
    while _waiting_bytes() and time.monotonic() < deadline:
        time.sleep(0.005)
    for copy, number in ((log.stdout, 1), (log.stderr, 2)):
        os.dup2(copy, number)
        os.close(copy)
    # Python's own helper processes may hold the pipe until this process ends.
    with contextlib.suppress(subprocess.TimeoutExpired):
        log.writer.wait(0.5)


def logged(work: Callable[[], object]) -> None:
    """Call `work`, and end the log that it begins; an error that nobody expected leaves its traceback there."""
    try:
        work()
    except Exception as error:
        if _open and not isinstance(error, SelfInstructError):
            traceback.print_exc()
        raise
    finally:
        end()


def path() -> Path | None:
    """Return the file into which libraries write now; None: they write to the terminal."""
    return next((path for path, _ in _logs()), None)


def said(most: int) -> str:
    """Return what the log says since it began, without times and stages.

    Args:
        most: bytes to read at its end.
    """
    if not _logs():
        return ""
    [(path, began)] = _logs()
    deadline = time.monotonic() + _DRAINED_S
    while _waiting_bytes() and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.05)  # What has left the pipe is written at once.
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            began = began if began <= size else 0  # Else a new file has begun since.
            stream.seek(max(began, size - most))
            lines = stream.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return "\n".join(line.partition("| ")[2] for line in lines)


def _logs() -> list[tuple[Path, int]]:
    return [(log.path, log.began) for log in _open] or _parents


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # A reader that has ended, or a closed stream.
            stream.flush()


def _waiting_bytes() -> int:
    """Return the bytes in the pipe that the writer has not read yet."""
    answer = fcntl.ioctl(2, termios.FIONREAD, b"\0\0\0\0")
    return int.from_bytes(answer, sys.byteorder)


def _is_descriptor_2(stream: Any) -> bool:
    try:
        return stream.fileno() == 2
    except (OSError, ValueError, AttributeError):
        return False


def _light_environment() -> dict[str, str]:
    """Return the environment without what other programs preload or measure; the writer needs none of it."""
    return {name: value for name, value in os.environ.items() if name not in ("LD_PRELOAD", "COVERAGE_PROCESS_START")}


def _hear_vllm() -> None:
    """Let vLLM say in the log what it does not say on a terminal; it may have been imported already."""
    if os.environ.get("VLLM_LOGGING_LEVEL", "ERROR") == "ERROR":
        os.environ["VLLM_LOGGING_LEVEL"] = "INFO"
    if "vllm" in sys.modules:
        logger = logging.getLogger("vllm")
        logger.setLevel(os.environ["VLLM_LOGGING_LEVEL"])
        for handler in logger.handlers:
            handler.setLevel(os.environ["VLLM_LOGGING_LEVEL"])


def _silence_vllm() -> None:
    """Keep off the terminal what vLLM says while the process ends: how it ends its own processes."""
    from selfinstruct.console import is_verbose

    if "vllm" in sys.modules and not is_verbose():
        logging.getLogger("vllm").setLevel(logging.CRITICAL)
