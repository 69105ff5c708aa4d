"""Runs in processes of their own, and the faults that are injected into them."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from selfinstruct.config.schema import Config

PATIENCE_S = 240.0
"""How long a test waits for what comes within a second on a machine that has nothing else to do."""
ROOT = Path(__file__).parents[2]
ENDED_BY_SIGNAL = {-signal.SIGKILL, -signal.SIGINT, -signal.SIGTERM, -signal.SIGHUP, 130, 143, 129}


def listen() -> None:
    """Reset SIGINT in a child process: it would inherit an ignored SIGINT from tests in a shell's background."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Driven:
    """A run of the scripted engine; `driver.py` lists the further options beside the configuration."""

    def __init__(self, folder: Path, config: Config, **extra: Any) -> None:
        self.path = Path(str(config.output_dir))
        self.config = config
        self.journal = self.path / "journal.jsonl"
        self._file = folder / f"{self.path.name}.json"
        self._file.write_text(json.dumps(config.model_dump(mode="json") | extra))

    def start(self, latency_seed: int = 0, **options: Any) -> subprocess.Popen[str]:
        """Start or continue the run."""
        command = [sys.executable, "-m", "tests.faults.driver", str(self._file), str(latency_seed)]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        pipes["preexec_fn"] = listen
        return subprocess.Popen(command, cwd=ROOT, text=True, **pipes | options)

    def finish(self, latency_seed: int = 0) -> str:
        """Run to the end; return what was printed on stderr."""
        process = self.start(latency_seed)
        _, said = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, said
        return said

    def num_lines(self) -> int:
        """Return the number of complete lines in the journal."""
        return self.journal.read_bytes().count(b"\n") if self.journal.exists() else 0

    def wait_for_lines(self, least: int, process: subprocess.Popen[str]) -> None:
        """Wait until the journal holds this number of lines, or the process has ended."""
        while process.poll() is None and self.num_lines() < least:
            time.sleep(0.002)

    def tear(self, draw: random.Random) -> bool:
        """Cut the journal's last line at a random byte, as a crash during a write does."""
        data = self.journal.read_bytes() if self.journal.exists() else b""
        start = data.rfind(b"\n", 0, -1) + 1
        if start + 1 >= len(data):
            return False
        with self.journal.open("r+b") as stream:
            stream.truncate(draw.randrange(start + 1, len(data)))
        return True


def kill_until_done(driven: Driven, draw: random.Random, signals: list[int], most_kills: int) -> Counter[str]:
    """Start, kill at a random moment, start again ... until it is done.

    Returns:
        Kills by signal (`SIGKILL`, ...) and by what was going on (`while starting`, `while generating`,
        `while exporting`); `torn`: how often the last line was also cut, and `reported`: how often the run
        said so.
    """
    found: Counter[str] = Counter()
    torn = False
    while True:
        process = driven.start(draw.randrange(10**6))
        number = moment = None
        if sum(found[signal.Signals(s).name] for s in set(signals)) < most_kills:
            number = draw.choice(signals)
            moment = draw.choice(["while starting", "while generating", "while generating", "while exporting"])
            _wait_for(moment, driven, draw, process, patient=number != signal.SIGKILL)
            process.send_signal(number)
        _, said = process.communicate(timeout=PATIENCE_S)
        reported = "bytes moved to" in said
        found["reported"] += reported
        assert reported or not torn or process.returncode != 0, "a torn line was passed over in silence"
        if process.returncode == 0:
            return found
        assert number is not None and process.returncode in ENDED_BY_SIGNAL, said
        assert "Traceback" not in said and "never retrieved" not in said, said
        found.update([signal.Signals(number).name, str(moment)])
        torn = (torn and not reported) or (number == signal.SIGKILL and draw.random() < 0.4 and driven.tear(draw))
        found["torn"] += torn


def _wait_for(
    moment: str, driven: Driven, draw: random.Random, process: subprocess.Popen[str], *, patient: bool
) -> None:
    """Wait until this moment, or the end. `patient`: at least until the program handles signals."""
    if patient or moment != "while starting":
        # While Python itself starts, no handler is set: a signal kills it like any other program.
        assert process.stdout is not None
        process.stdout.readline()
    if moment == "while starting":
        time.sleep(draw.random() * 0.2)
        return
    if moment == "while generating":
        driven.wait_for_lines(driven.num_lines() + draw.randint(0, 12), process)
    else:
        assert process.stdout is not None
        while (line := process.stdout.readline()) and line != "exporting\n":
            pass
    time.sleep(draw.random() * 0.02)
