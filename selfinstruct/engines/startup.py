"""Start vLLM in a thread, and read its processes' errors when it ends.

vLLM's engine runs in processes of its own. Their errors are only in their log; the driver sees only that they ended.
So they write into a file (see `vllm_plugin`), from which the cause is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selfinstruct import environment, leftovers, library_log
from selfinstruct.engines import out_of_memory

_TAIL_BYTES = 262_144
_CAUSE = re.compile(
    r"^(?:\([\w =,]{1,80}\) )?(?:ERROR [^\]\n]{1,80}\] )?((?:\w+\.)*\w*(?:Error|Exception)\b.*)", re.MULTILINE
)
"""An exception in a log; vLLM's workers write their name, the time and the place before it."""
_CONSEQUENCES = ("EngineDeadError", "RuntimeError: cancelled")
_WORKER_DIED = re.compile(r"Worker.{0,80} died unexpectedly(?: \(exit code: (-?\d+)\))?")
_LONGEST_CAUSE = 600
_ENDING_S = 1.0


def end(llm: Any) -> None:
    """End an engine of vLLM; kill its processes after a second, not after vLLM's five: they have nothing to save."""
    llm.shutdown(_ENDING_S)


class LastWords:
    """The file into which the engine's processes write. Create it before they start."""

    def __init__(self) -> None:
        self._file = tempfile.NamedTemporaryFile(prefix=leftovers.prefix("engine"), suffix=".log")  # noqa: SIM115
        os.environ[environment.LAST_WORDS] = self._file.name

    def text(self) -> str:
        """Return the last errors, at most 256 KiB; what the run's log has where vLLM's loggers wrote none."""
        try:
            self._file.seek(max(0, os.fstat(self._file.fileno()).st_size - _TAIL_BYTES))
            errors = self._file.read().decode("utf-8", "replace")
        except (OSError, ValueError):  # ValueError: discarded
            errors = ""
        return errors if _CAUSE.search(errors) else errors + library_log.said(_TAIL_BYTES)

    def keep(self) -> Path:
        """Return the run's log, or a copy of the errors that stays, for a person to read."""
        if log := library_log.path():
            return log
        kept = Path(self._file.name).with_name(f"selfinstruct-failed-engine-{secrets.token_hex(4)}.log")
        with contextlib.suppress(OSError, ValueError), os.fdopen(_create(kept), "wb") as copy:
            self._file.seek(0)
            shutil.copyfileobj(self._file, copy)
        return kept

    def discard(self) -> None:
        """Remove the file. It is also removed with this object."""
        self._file.close()


def did_not_start(model: str, error: Exception, last_words: LastWords) -> str:
    """Return why vLLM did not start with a model, and what can be done about it.

    Args:
        model: as in the configuration.
        error: what vLLM raised.
        last_words: of its processes.
    """
    log = last_words.text()
    cause = " ".join((first_cause(log) or str(error)).split())
    memory = out_of_memory.explain(f"{log}\n{error}", out_of_memory.holders())
    rest = f"\n{memory}" if memory else f"; its log is {last_words.keep()}"
    return f"vLLM did not start with model {model!r}: {cause}{rest}"


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)


def first_cause(log: str) -> str | None:
    """Return the first exception of a log, or None.

    It is the cause of a failed start: the exceptions after it only report the failure of another process.
    """
    match = _CAUSE.search(log)
    return match[1][:_LONGEST_CAUSE] if match else None


def last_cause(log: str) -> str | None:
    """Return the last exception of a log, or None.

    It is the cause when a working engine ends: earlier exceptions did not end it. What vLLM says of a process because
    another one is dead is none; a worker that was killed says nothing itself.
    """
    died = next(reversed(list(_WORKER_DIED.finditer(log))), None)
    said = log[: died.start()] if died else log
    causes = [cause for cause in _CAUSE.findall(said) if not any(part in cause for part in _CONSEQUENCES)]
    if died is not None and not causes:
        how = exit_text(int(died[1])) if died[1] else "it may have been killed for lack of memory"
        return f"a worker process died: {how}"
    return causes[-1][:_LONGEST_CAUSE] if causes else None


def refusal(error: Exception) -> str:
    """Return what vLLM says of arguments or a model that it refuses, in one line; of pydantic's report the messages."""
    errors = getattr(error, "errors", None)
    said = "; ".join(str(each["msg"]) for each in errors()) if callable(errors) else str(error)
    return " ".join(said.removeprefix("Value error, ").split())[:_LONGEST_CAUSE]


def exit_text(code: int | None) -> str:
    """Return how a process ended, from its exit code as multiprocessing reports it."""
    if code is None:
        return "it gave no reason"
    if code >= 0:
        return f"exit code {code}" if code else "it was asked to end"
    name = signal.Signals(-code).name
    return f"killed by {name}" + (" (the kernel does so when memory runs out)" if name == "SIGKILL" else "")


async def in_lasting_thread(make: Callable[[], Any], discard: Callable[[Any], None]) -> tuple[Any, Callable[[], None]]:
    """Call `make` in a thread that lasts until the returned function is called.

    Linux sends the parent-death signal of a process when the *thread* that started it ends (prctl(2)). So the end of a
    thread of a pool could end the engine.

    Args:
        make: may block for minutes.
        discard: called with the result of `make` if the caller was cancelled.

    Returns:
        The result of `make`, and the function that ends the thread.
    """
    loop = asyncio.get_running_loop()
    made: asyncio.Future[None] = loop.create_future()
    # Not in the future: it lives as long as the frame of `work`, which a library that vLLM imports never frees.
    box: list[Any] = []
    released = threading.Event()

    def deliver(value: Any, error: BaseException | None) -> None:
        if made.done():
            if error is None:
                discard(value)
        elif error is not None:
            made.set_exception(error)
        else:
            box.append(value)
            made.set_result(None)

    def work() -> None:
        value, error = None, None
        try:
            value = make()
        except BaseException as raised:  # noqa: BLE001 - it is raised where `made` is awaited
            error = raised
        with contextlib.suppress(RuntimeError):  # The event loop is closed: the program is about to end.
            loop.call_soon_threadsafe(deliver, value, error)
        del value, error
        released.wait()

    def release() -> None:
        released.set()
        thread.join(1.0)  # It keeps a reference to the result while it runs.

    thread = threading.Thread(target=work, name="vllm-start", daemon=True)
    thread.start()
    try:
        await made
        return box.pop(), release
    except BaseException:
        released.set()
        raise
