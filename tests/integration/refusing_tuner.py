"""Ends as `tuning.sft` does, but without the seconds that its libraries take to import.

With a wrong argument, or killed, as the name of the model's folder says.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from selfinstruct.errors import ConfigError
from selfinstruct.program_edge import run_program


def refuse() -> None:
    """Refuse the arguments; or be killed; or wait."""
    if any(word.endswith("/killed") for word in sys.argv):
        if os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(600)
    if any(word.endswith("/signalled") for word in sys.argv):
        if os.environ["RANK"] == "1":
            os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(600)
    raise ConfigError("--eos_token '<nope>' is not in the model's vocabulary")


if __name__ == "__main__":
    sys.exit(run_program(refuse, prefix=""))
