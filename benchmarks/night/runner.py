"""Run steps one after the other, each in a process of its own under a time limit; print one line of JSON for each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.night import figures, leftovers

_LEAST_S = 10.0
"""A step is not begun with less time than this."""
CLOSING_S = 6.0
"""Seconds kept for ending a step's processes and for the GPU's memory to come back."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step.

    Attributes:
        name: of the step.
        command: the program and its arguments.
        seconds: longest time, beside what the steps before it have left of theirs.
        missing: modules that it needs and that are not there; it is skipped.
    """

    name: str
    command: Sequence[str]
    seconds: float
    missing: tuple[str, ...] = ()


def run_all(steps: Sequence[Step], logs: Path, seconds: float, environment: Mapping[str, str]) -> int:
    """Run the steps, print their lines, and return how many are not ok.

    Args:
        steps: in their order.
        logs: folder for what they print.
        seconds: for all of them together.
        environment: variables that they get besides this process's.
    """
    logs.mkdir(parents=True, exist_ok=True)
    leftovers.adopt_orphans()
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda number, frame: sys.exit(128 + number))
    end = time.monotonic() + seconds
    bad, saved = 0, 0.0
    try:
        for step in steps:
            began = time.monotonic()
            left = end - time.monotonic() - CLOSING_S
            if step.missing:
                line: dict[str, Any] = {"outcome": "skipped", "error": f"not installed: {', '.join(step.missing)}"}
            elif left < min(_LEAST_S, step.seconds):
                line = {"outcome": "skipped", "error": f"no time left of {seconds:.0f} s"}
            else:
                try:
                    line = _run(step, logs, min(step.seconds + saved, left), environment)
                except (OSError, ValueError, subprocess.SubprocessError) as error:  # The command cannot be started.
                    leftovers.end_descendants()
                    line = {"outcome": "failed", "error": f"{type(error).__name__}: {error}"}
            print(json.dumps({"step": step.name} | line), flush=True)
            bad += line["outcome"] != "ok"
            if line["outcome"] != "skipped":
                saved = max(0.0, saved + step.seconds - (time.monotonic() - began))
    finally:
        leftovers.end_descendants()
    return bad


def _run(step: Step, logs: Path, limit: float, environment: Mapping[str, str]) -> dict[str, Any]:
    measured, log = logs / f"{step.name}.jsonl", logs / f"{step.name}.log"
    measured.unlink(missing_ok=True)  # Of an earlier night in the same folder.
    memory_before = leftovers.gpu_bytes()
    began = time.monotonic()
    with log.open("w", encoding="utf-8") as said:
        process = subprocess.Popen(
            step.command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env=os.environ | environment | {figures.FIGURES: str(measured)},
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
    taken = time.monotonic() - began
    line: dict[str, Any] = {"outcome": "ok" if code == 0 else "failed", "seconds": round(taken, 1)}
    if code is None:
        line |= {"outcome": "timeout", "error": f"killed after {limit:.0f} s; last said: {_last_words(log)}"}
    elif code:
        line["error"] = f"exit code {code}: {_last_words(log)}"
    if code is not None and leftovers.gone_after() is None:
        line["processes_left"] = leftovers.names(leftovers.descendants())
        _fail(line, f"left running: {len(line['processes_left'])} processes")
    leftovers.end_descendants()
    process.wait()
    reported, wrong = figures.read(measured)
    if wrong:
        _fail(line, wrong)
    line |= {name: value for name, value in reported.items() if name not in line}
    if memory_before is not None and leftovers.memory_back(memory_before) is None:
        line["gpu_mib_kept"] = ((leftovers.gpu_bytes() or 0) - memory_before) >> 20
        _fail(line, f"{line['gpu_mib_kept']} MiB of GPU memory are still in use")
    if code != 0:
        print("\n".join(_lines(log)[-15:]), file=sys.stderr, flush=True)
    return line


def _fail(line: dict[str, Any], why: str) -> None:
    """Let a step that was ok so far have failed."""
    if line["outcome"] == "ok":
        line |= {"outcome": "failed", "error": why}


def _lines(log: Path) -> list[str]:
    return [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]


def _last_words(log: Path) -> str:
    return " | ".join(_lines(log)[-2:])[-400:]
