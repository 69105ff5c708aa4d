"""SIGINT, SIGTERM and SIGHUP end a run cleanly. A second signal of the same kind ends it at once.

Only this module sets signal handlers. A signal that was ignored when the process started (nohup) stays ignored.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NoReturn, TypeVar

from selfinstruct.errors import EngineError, Interrupted

Result = TypeVar("Result")

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def on_signals(act: Callable[[int], None]) -> Iterator[None]:
    """Call `act` with the number of every signal that arrives inside the block. Do nothing outside the main thread."""

    def handler(number: int, _: Any) -> None:
        act(number)

    in_main = threading.current_thread() is threading.main_thread()
    handled = [s for s in _SIGNALS if in_main and signal.getsignal(s) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in handled}
    try:
        yield
    finally:
        for number, earlier in before.items():
            if signal.getsignal(number) is handler:  # Otherwise a signal has come; a second one must kill.
                signal.signal(number, earlier)


def leave(number: int) -> None:
    """Raise `Interrupted` wherever the program is, for example while it loads a model. Pass it to `on_signals`."""
    signal.signal(number, signal.SIG_DFL)
    raise Interrupted(number)


@contextlib.contextmanager
def changing_nothing() -> Iterator[None]:
    """Run a block that starts or changes no run: a signal that ends it promises no continuation.

    Raises:
        Interrupted: a signal came inside the block.
    """
    try:
        yield
    except Interrupted as stopped:
        raise Interrupted(signal.Signals[stopped.signal], "nothing was changed") from None


@contextlib.contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise `TimeoutError` in the block if it has not ended in time.

    A timer of the process interrupts it between two steps of Python, so that a single long operation in C goes on. Only
    the main thread can be interrupted. Elsewhere, and where another timer runs already, there is no bound.

    Args:
        seconds: by the wall clock.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getitimer(signal.ITIMER_REAL)[0]:
        yield
        return

    def interrupt(*_: object) -> NoReturn:
        raise TimeoutError(f"it does not end within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


async def until_signal(work: Awaitable[Result]) -> Result:
    """Await `work`. A signal cancels it, so that it can finish the line that it is writing.

    `leave` cannot be used here: it would raise inside any callback that the event loop runs at that moment.

    Raises:
        Interrupted: a signal came before `work` was done.
    """
    import asyncio  # Heavy for `--help`, which needs it not.

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
            # Ctrl-C in a terminal also ends the engine's processes, and their death may be reported first.
            if received:
                raise Interrupted(received[0]) from None
            raise
