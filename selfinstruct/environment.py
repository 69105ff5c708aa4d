"""The environment variables of this program, each named once."""

from __future__ import annotations

PARENT = "SELFINSTRUCT_ENGINE_PARENT"
"""Id of the process whose engine processes end with it. Without it, nothing ties them to a process."""

LAST_WORDS = "SELFINSTRUCT_ENGINE_LAST_WORDS"
"""File to which the engine's processes append the errors of vLLM's log."""

EXIT_CODE_FILE = "_SELFINSTRUCT_EXIT_CODE_FILE"
"""File into which a stage writes its exit code, since accelerate, which starts some stages, turns each code into 1."""

DEBUG_VARIABLE = "SELFINSTRUCT_DEBUG"
"""Set by `--debug`, also for the stages that run as processes of their own."""

ENVIRONMENT_PREFIX = "SELFINSTRUCT_"


def variable_of(name: str) -> str:
    """Return the environment variable of an option: `filters.threshold` is `SELFINSTRUCT_FILTERS__THRESHOLD`."""
    return f"{ENVIRONMENT_PREFIX}{name.replace('.', '__').upper()}"
