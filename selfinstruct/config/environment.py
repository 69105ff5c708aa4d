"""The environment variables of this program, each named once."""

from __future__ import annotations

PARENT = "SELFINSTRUCT_ENGINE_PARENT"
"""Environment variable: the process (its id) whose children are to end with it. Without it nothing is done."""

LAST_WORDS = "SELFINSTRUCT_ENGINE_LAST_WORDS"
"""Environment variable: the file to which the engine's processes append the errors of vLLM's log."""

EXIT_CODE_FILE = "_SELFINSTRUCT_EXIT_CODE_FILE"
"""Environment variable: where a stage writes its exit code, since accelerate, which launches some, makes 1 of each."""

DEBUG_VARIABLE = "SELFINSTRUCT_DEBUG"
"""Set by `--debug`, also for the stages that run in processes of their own."""

ENVIRONMENT_PREFIX = "SELFINSTRUCT_"


def variable_of(name: str) -> str:
    """The environment variable of an option: `filters.threshold` is `SELFINSTRUCT_FILTERS__THRESHOLD`."""
    return f"{ENVIRONMENT_PREFIX}{name.replace('.', '__').upper()}"
