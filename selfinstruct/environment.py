"""The names of this program's environment variables."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from selfinstruct.errors import ConfigError

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

OUTPUT = "_SELFINSTRUCT_OUTPUT"
"""Set by `-q` and `-v` to `quiet` or `verbose`. Stages that run as separate processes inherit it."""

ENVIRONMENT_PREFIX = "SELFINSTRUCT_"


def variable_of(name: str) -> str:
    """Return the environment variable of an option: `SELFINSTRUCT_FILTERS__THRESHOLD` for `filters.threshold`."""
    return f"{ENVIRONMENT_PREFIX}{name.replace('.', '__').upper()}"


def check() -> None:
    """Check the variables with which a library cannot even be imported.

    Raises:
        ConfigError: `HF_ENDPOINT` is set, and no URL.
    """
    endpoint = os.environ.get("HF_ENDPOINT", "").strip()
    try:
        parts = urlsplit(endpoint or "https://huggingface.co")
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(
            f"HF_ENDPOINT={endpoint} is no URL of a Hub; set it to one (https://HOST), or unset it for huggingface.co"
        )
