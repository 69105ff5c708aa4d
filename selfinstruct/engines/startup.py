"""Starting vLLM: beside the event loop, and with the engine's own words when it ends.

vLLM's engine runs in processes of its own. What goes wrong there is in their log; the driver only hears that they are
gone. So they also write their errors into a file (see `vllm_plugin`), from which the cause is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import tempfile
import threading
from collections.abc import Callable
from typing import Any

from selfinstruct import environment

_TAIL_BYTES = 65_536
_CAUSE = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception)\b.*", re.MULTILINE)
_LONGEST_CAUSE = 600


class LastWords:
    """The file into which the engine's processes write their errors. Make it before they are started."""

    def __init__(self) -> None:
        self._file = tempfile.NamedTemporaryFile(prefix="selfinstruct-engine-", suffix=".log")  # noqa: SIM115
        os.environ[environment.LAST_WORDS] = self._file.name

    def text(self) -> str:
        """What they wrote last, at most 64 KiB."""
        try:
            self._file.seek(max(0, os.fstat(self._file.fileno()).st_size - _TAIL_BYTES))
            return self._file.read().decode("utf-8", "replace")
        except (OSError, ValueError):  # ValueError: discarded
            return ""

    def discard(self) -> None:
        """Remove the file. It is also removed with this object."""
        self._file.close()


def first_cause(log: str) -> str | None:
    """The exception that began it: of a start that failed, in which every process reports the failure of another."""
    found = _CAUSE.search(log)
    return found[0][:_LONGEST_CAUSE] if found else None


def last_cause(log: str) -> str | None:
    """The exception that was reported last: of an engine that worked and may have had lesser troubles before."""
    found = _CAUSE.findall(log)
    return found[-1][:_LONGEST_CAUSE] if found else None


def exit_text(code: int | None) -> str:
    """How a process ended, from its exit code as multiprocessing gives it."""
    if code is None:
        return "it gave no reason"
    if code >= 0:
        return f"exit code {code}" if code else "it was asked to end"
    name = signal.Signals(-code).name
    return f"killed by {name}" + (" (the kernel does so when memory runs out)" if name == "SIGKILL" else "")


async def in_lasting_thread(make: Callable[[], Any], discard: Callable[[Any], None]) -> tuple[Any, Callable[[], None]]:
    """Call `make` in a thread that lasts until the returned function is called.

    Linux sends the parent-death signal of a process when the *thread* that started it ends (prctl(2)), so one from a
    pool could take the engine with it.

    Args:
        make: may block for minutes.
        discard: called with what was made, when nobody waits for it any more.
    """
    loop = asyncio.get_running_loop()
    made: asyncio.Future[None] = loop.create_future()
    # Not in the future: it lives as long as the frame of `work`, which something that vLLM imports keeps for good.
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
        thread.join(1.0)  # It keeps what it made for as long as it runs.

    thread = threading.Thread(target=work, name="vllm-start", daemon=True)
    thread.start()
    try:
        await made
        return box.pop(), release
    except BaseException:
        released.set()
        raise
