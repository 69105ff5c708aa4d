"""From a fresh clone to a finished demo: time of the install and of the demo, peak memory; time of `--help`.

    python benchmarks/chain.py            # clones this repository into a temporary folder

Peak memory is the sum over the process tree, sampled five times a second: shared pages count once per process, so it
is an upper bound.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from selfinstruct.hardware import processor

ROOT = Path(__file__).resolve().parents[1]


def peak_memory(process: subprocess.Popen[bytes], peaks: list[int]) -> None:
    """Sample the process tree's unique memory (bytes) until the process ends; the peak is appended to `peaks`."""
    peak = 0
    root = psutil.Process(process.pid)
    while process.poll() is None:
        together = 0
        for member in [root, *root.children(recursive=True)]:
            try:
                together += member.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        peak = max(peak, together)
        time.sleep(0.2)
    peaks.append(peak)


def measured(command: list[str], folder: Path, show: bool = False) -> tuple[float, int]:
    """Return (seconds, peak bytes) of a command that must succeed."""
    began = time.monotonic()
    output = None if show else subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
    peaks: list[int] = []
    watcher = threading.Thread(target=peak_memory, args=(process, peaks))
    watcher.start()
    code = process.wait()
    seconds = time.monotonic() - began
    watcher.join()
    if code:
        sys.exit(f"{' '.join(command)} ended with exit code {code}")
    return seconds, peaks[0]


def main() -> None:
    """Measure, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--show", action="store_true", help="show the output of the commands")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="selfinstruct-") as name:
        clone = Path(name) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        rows = []
        for title, command in (
            ("make install (bare)", ["make", "install"]),
            ("make install (again)", ["make", "install"]),
            ("make demo", ["make", "demo"]),
        ):
            seconds, peak = measured(command, clone, options.show)
            rows.append((title, f"{seconds:.1f} s", f"{peak / 2**30:.2f} GiB"))
        times = [measured([".venv/bin/selfinstruct", "--help"], clone)[0] for _ in range(7)]
        rows.append(("selfinstruct --help, median of 7", f"{statistics.median(times):.2f} s", ""))
    print(f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print("| step | time | peak memory |\n| --- | --- | --- |")
    for row in rows:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
