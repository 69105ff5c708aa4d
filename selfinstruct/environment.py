"""The names of this program's environment variables."""

from __future__ import annotations

PARENT = "SELFINSTRUCT_ENGINE_PARENT"
"""Id of the parent process. The engine's processes end when it ends; if unset, they depend on no process."""

LAST_WORDS = "SELFINSTRUCT_ENGINE_LAST_WORDS"
"""File to which the engine's processes append the errors of vLLM's log."""

EXIT_CODE_FILE = "_SELFINSTRUCT_EXIT_CODE_FILE"
"""File into which a stage writes its exit code and its error, which the chain then says. accelerate, which starts some
stages, makes 1 of every code."""

LOCKS = "_SELFINSTRUCT_LOCKS"
"""Descriptors, separated by commas, of the locks of run directories that a stage shares with its chain."""

DEBUG_VARIABLE = "SELFINSTRUCT_DEBUG"
"""Set by `--debug`. Stages that run as separate processes inherit it."""

ENVIRONMENT_PREFIX = "SELFINSTRUCT_"


def variable_of(name: str) -> str:
    """Return the environment variable of an option: `SELFINSTRUCT_FILTERS__THRESHOLD` for `filters.threshold`."""
    return f"{ENVIRONMENT_PREFIX}{name.replace('.', '__').upper()}"
