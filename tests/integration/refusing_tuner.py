"""Ends as `tuning.sft` does with a wrong argument, but without the seconds that its libraries take to import."""

from __future__ import annotations

import sys

from selfinstruct.errors import ConfigError
from selfinstruct.program_edge import run_program


def refuse() -> None:
    """Refuse the arguments."""
    raise ConfigError("--eos_token '<nope>' is not in the model's vocabulary")


if __name__ == "__main__":
    sys.exit(run_program(refuse, prefix=""))
