"""The demo's chain to its end, and killed: what it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from benchmarks.night import leftovers
from benchmarks.night.figures import report
from selfinstruct.run.directory import RunDirectory

_CHAIN_ENDS_S = 30.0
_FAST = {"SELFINSTRUCT_EVALUATE__SEEDS_BASELINE": "false"}
"""The baseline is one more training, which shows nothing new here."""


def _start(run: Path, num_instructions: int) -> subprocess.Popen[bytes]:
    # Compiling the demo model takes longer than running it; `engine` shows that it works.
    options = ["--num-instructions", str(num_instructions), "--output-dir", str(run), "--engine.enforce-eager"]
    return subprocess.Popen(
        [sys.executable, "-m", "selfinstruct", "demo", *options], env=os.environ | _FAST, start_new_session=True
    )


def demo(folder: Path, tiny: bool) -> None:
    leftovers.adopt_orphans()
    before = leftovers.gpu_bytes()
    run = RunDirectory(folder / "run")
    began = time.time()
    process = _start(run.path, 40)
    code = process.wait()
    report(exit_code=code, chain_s=time.time() - began)
    left = _report_leftovers("", before)
    made = {
        "generate": run.journal,
        "tune": run.model.record_path,
        "evaluate": run.evaluation.scores_path,
        "report": run.report,
    }
    report(done_after_s={name: round(p.stat().st_mtime - began, 1) for name, p in made.items() if p.exists()})
    if code:
        sys.exit(f"the chain ended with exit code {code}")
    record = run.model.training_record()
    report(
        rows=record.rows.train,
        instructions=len(run.state().pool),
        tune_steps_per_s=record.runtime.steps_per_s,
        arms=sorted(run.evaluation.scores().arms),
    )
    _require_nothing(left)


def killed(folder: Path, tiny: bool) -> None:
    """Kill the chain, then only its generation, whose chain has to say so and to end by itself."""
    leftovers.adopt_orphans()
    left: list[str] = []
    for whom in ("chain", "generation"):
        before = leftovers.gpu_bytes()
        run = RunDirectory(folder / whom)
        process = _start(run.path, 2000)
        _wait_for_lines(run.journal, 3, process)
        stage = next(child for child in psutil.Process(process.pid).children() if "generate" in child.cmdline())
        killed = psutil.Process(process.pid) if whom == "chain" else stage
        members = [killed, *killed.children(recursive=True)]
        report(**{f"{whom}_processes": len(members)})
        os.kill(killed.pid, signal.SIGKILL)
        left += _report_leftovers(f"{whom}_", before, members)
        try:
            report(**{f"{whom}_exit_code": process.wait(_CHAIN_ENDS_S)})
        except subprocess.TimeoutExpired:
            left.append(f"the chain runs {_CHAIN_ENDS_S} s after the death of its {whom}")
        leftovers.end_descendants()
    _require_nothing(left)


def _require_nothing(left: list[str]) -> None:
    if left:
        sys.exit("; ".join(left))


def _report_leftovers(prefix: str, before: int | None, members: list[psutil.Process] | None = None) -> list[str]:
    """Report after how many seconds all processes have gone and the GPU's memory is back; return what has not.

    Args:
        prefix: of the figures' names.
        before: bytes of GPU memory in use before.
        members: the processes; default: all descendants of this one.
    """
    left = []
    gone = leftovers.gone_after(5.0, members)
    report(**{f"{prefix}processes_gone_s": gone})
    if gone is None:
        report(**{f"{prefix}processes_left": leftovers.names(leftovers.descendants() if members is None else members)})
        left.append(f"{prefix}processes are left after 5 s")
    if before is not None:
        back = leftovers.memory_back(before, 5.0)
        report(**{f"{prefix}gpu_memory_back_s": None if back is None else back + (gone or 0.0)})
        if back is None:
            report(**{f"{prefix}gpu_mib_kept": ((leftovers.gpu_bytes() or 0) - before) >> 20})
            left.append(f"{prefix}GPU memory is not back after 5 s more")
    return left


def _wait_for_lines(journal: Path, least: int, process: subprocess.Popen[bytes]) -> None:
    while not journal.exists() or journal.read_bytes().count(b"\n") < least:
        if process.poll() is not None:
            sys.exit(f"the demo ended with exit code {process.returncode} before it had generated anything")
        time.sleep(0.05)
