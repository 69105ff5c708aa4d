"""Errors that a user can act on. Each class has its exit code.

0 done · 1 unexpected · 2 usage or configuration · 3 stopped, resumable · 4 bad input or failed gate ·
5 run directory in use · 129/130/143 signals.
"""

from __future__ import annotations

import signal


class SelfInstructError(Exception):
    """Base of every error that is shown to the user as one message, without a traceback."""

    exit_code = 1


class ConfigError(SelfInstructError):
    """An option, a configuration key or a combination of them cannot be used. Exit code 2."""

    exit_code = 2


class StoppedError(SelfInstructError):
    """The run stopped before its target and can be continued. Exit code 3."""

    exit_code = 3


class EngineError(StoppedError):
    """The generation engine could not be started, or died. The run directory is intact. Exit code 3."""


class InputError(SelfInstructError):
    """A file that the user gave has content that cannot be used. Exit code 4."""

    exit_code = 4


class RunLockedError(SelfInstructError):
    """Another process is writing to this run directory. Exit code 5."""

    exit_code = 5


class Interrupted(KeyboardInterrupt):
    """A signal ended the run. Exit code 128 + its number.

    It is a `KeyboardInterrupt`, so no `except Exception` catches it, and an event loop raises it instead of logging it.
    """

    CONTINUES = "everything committed is safe, the same command continues the run"

    def __init__(self, number: int, consequence: str = CONTINUES) -> None:
        self.signal = signal.Signals(number).name
        super().__init__(f"stopped by {self.signal}; {consequence}")
        self.exit_code = 128 + number
