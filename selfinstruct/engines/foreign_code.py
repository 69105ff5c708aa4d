"""Run code that comes with a model only if an option allows it.

Without the argument `trust_remote_code`, transformers asks on standard input whether to run the code. So every call
that loads something passes this argument.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from selfinstruct.errors import ConfigError

GENERATOR = "allow it with --engine.trust-remote-code"
TUNER = "allow it with --tune.trust-remote-code"


@contextlib.contextmanager
def refused(model: str, remedy: str = GENERATOR) -> Iterator[None]:
    """Turn transformers' refusal to run a model's code into an error that says what can be done.

    Args:
        model: its name, as the user gave it.
        remedy: what to do after reading the code.

    Raises:
        ConfigError: transformers refused to run the code.
    """
    try:
        yield
    except Exception as error:
        if "trust_remote_code" not in str(error):
            raise
        raise ConfigError(f"model {model!r} brings code of its own; read it, and {remedy}") from error
