"""Training of models with random weights: speed, memory against its estimate, and what cannot fit is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import tune
from benchmarks.night import models
from benchmarks.night.figures import report

ESTIMATE_WITHIN = 0.2


def lora(folder: Path, tiny: bool) -> None:
    """Train an adapter of 8 billion parameters on unpacked and on packed rows."""
    bench = _bench("8b", folder, tiny)
    _end([_measure(bench, "lora", *how, tiny) for how in (("unpacked", False), ("packed", True))])


def full(folder: Path, tiny: bool) -> None:
    """Train all of 1.7 billion parameters."""
    _end([_measure(_bench("1.7b", folder, tiny), "full", "full", True, tiny)])


def _end(wrong: list[str]) -> None:
    if any(wrong):
        sys.exit("; ".join(filter(None, wrong)))


def refused(folder: Path, tiny: bool) -> None:
    """Ask for full tuning of 8 billion parameters, which does not fit a GPU of 80 GB; a larger one is hidden."""
    model = models.write("8b", folder / "model")
    config = folder / "night.yaml"
    config.write_text(json.dumps({"model": str(model), "output_dir": str(folder / "run"), "tune": {"use_peft": False}}))
    began = time.monotonic()
    command = [sys.executable, "-m", "selfinstruct", "run", str(config), "--dry-run"]
    environment = os.environ | {"PATH": _pretended_gpu(folder)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    said = [line for line in done.stderr.splitlines() if "does not fit" in line]
    report(exit_code=done.returncode, refused_after_s=time.monotonic() - began, said=said)
    if done.returncode != 2 or not said:
        print(done.stdout, done.stderr, file=sys.stderr)
        sys.exit("it was not refused")


def _pretended_gpu(folder: Path) -> str:
    """Return a search path whose `nvidia-smi` shows one GPU of 80 GB, whatever is there."""
    tool = folder / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 0, GPU-a1, NVIDIA H100 80GB HBM3, 81559, 80995, 9.0\n")
    tool.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def _bench(shape: str, folder: Path, tiny: bool) -> tune.Bench:
    began = time.monotonic()
    model = models.write("tiny" if tiny else shape, folder / "shape")
    bench = tune.Bench(folder / "bench", str(model), show=False)
    report(made_model_s=time.monotonic() - began, parameters=bench.parameters)
    return bench


def _measure(bench: tune.Bench, method: str, label: str, packing: bool, tiny: bool) -> str:
    """Train for some steps and report; return what is wrong with the estimate of memory.

    A CPU's peak is that of the process with all it has imported, so nothing is asked of a tiny model.
    """
    rows, blocks = (4, 2) if tiny else (16, 8)
    steps, length = (4, 256) if tiny else (6, 1024)
    figures = bench.ours(bench.arguments(method, packing, blocks if packing else rows, steps, length))
    peak, estimate = figures["peak"], figures["estimate"]
    shown = {
        "steps_per_s": figures["steps_per_s"],
        "tokens_per_s": figures["tokens_per_s"],
        "startup_s": figures["startup_s"],
        "peak_gib": peak / 2**30,
        "estimate_gib": estimate / 2**30,
        "peak_by_estimate": peak / estimate,
    }
    if not tiny:
        rate = tune.matrix_rate()
        shown["matrix_rate_share"] = figures["tokens_per_s"] * tune.operations_per_token(bench, method) / rate
    report(**{f"{label}_{name}": value for name, value in shown.items()})
    return "" if tiny else unlike(label, peak, estimate)


def unlike(label: str, peak: float, estimate: float) -> str:
    """Return what to say of an estimate of memory that is not within 20 % of the peak; else nothing."""
    if abs(peak / estimate - 1) <= ESTIMATE_WITHIN:
        return ""
    return f"{label}: the peak of memory is {peak / estimate:.2f} of the estimate, not within {ESTIMATE_WITHIN:.0%}"
