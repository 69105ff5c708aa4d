"""SIGINT, SIGTERM and SIGHUP end a run in good order; a second one of the same kind ends it at once.

One that was ignored when the process started (nohup) stays ignored.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

from selfinstruct.errors import EngineError, Interrupted

Result = TypeVar("Result")

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def on_signals(act: Callable[[int], None]) -> Iterator[None]:
    """Call `act` with the number of every signal that arrives inside the block. Outside the main thread: do nothing."""

    def handler(number: int, _: Any) -> None:
        act(number)

    in_main = threading.current_thread() is threading.main_thread()
    handled = [s for s in _SIGNALS if in_main and signal.getsignal(s) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in handled}
    try:
        yield
    finally:
        for number, earlier in before.items():
            if signal.getsignal(number) is handler:  # Else a first one has come, and a second one shall kill.
                signal.signal(number, earlier)


def leave(number: int) -> None:
    """For `on_signals`: raise `Interrupted` wherever the program stands, for example in the loading of a model."""
    signal.signal(number, signal.SIG_DFL)
    raise Interrupted(number)


async def until_signal(work: Awaitable[Result]) -> Result:
    """Await `work`, which a signal cancels, so that it can finish the line that it is writing.

    What `leave` raises could be lost here: an event loop only reports what a callback raises.

    Raises:
        Interrupted: a signal came before `work` was done.
    """
    loop, received = asyncio.get_running_loop(), list[int]()
    task = asyncio.ensure_future(work)

    def stop(number: int) -> None:
        signal.signal(number, signal.SIG_DFL)
        received.append(number)
        loop.call_soon_threadsafe(task.cancel)

    with on_signals(stop):
        try:
            return await task
        except (asyncio.CancelledError, EngineError):
            # A Ctrl-C in a terminal reaches the engine's processes too, and their death may be heard of first.
            if received:
                raise Interrupted(received[0]) from None
            raise
