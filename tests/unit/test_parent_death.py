"""Processes that are tied to their parent end with it, also when it is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
PARENT = """
import subprocess, sys, time
from selfinstruct.checks import tuning_preview
import pytest

from selfinstruct.config.schema import Tune
tuning_preview.tune_command = lambda *_, **__: ["-m", "tuning.sft"]
real = subprocess.Popen
def sleeper(command, **options):
    return real([sys.executable, "-c", "import time; time.sleep(600)"], **options)
subprocess.Popen = sleeper
with tuning_preview.started(Tune(), "demo", None, ()) as child:
    print(child.pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.whole
def test_the_check_of_the_tuners_arguments_ends_with_a_killed_parent() -> None:
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, env=env, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
    gone, alive = psutil.wait_procs([child], timeout=240)
    assert gone and not alive
