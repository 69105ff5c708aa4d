"""Code that a model brings: it runs only where an option allows it.

Unless `trust_remote_code` is given, transformers asks on standard input whether to run it. So every loading call
gives it.
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
        ConfigError: the block was refused to run it.
    """
    try:
        yield
    except Exception as error:
        if "trust_remote_code" not in str(error):
            raise
        raise ConfigError(f"model {model!r} brings code of its own; read it, and {remedy}") from error
