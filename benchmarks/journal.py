"""The journal: commits per second under each fsync policy, other ways beside it; time and memory of resuming a run.

    python benchmarks/journal.py            # everything: about ten minutes on 2 cores, 3 GB of disk
    python benchmarks/journal.py --quick    # a tenth of the lines

Prints Markdown tables of medians. Lines are like those of a run: a proposal of eight candidates with its completion
takes 1.8 kB, a classification 0.2 kB, instances 0.6 kB. Resuming is measured as a user waits for it: from the call of
`generate` on a journal that is there to the first request that the engine gets.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from selfinstruct.config.schema import Config
from selfinstruct.engines.base import Request
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.generation.generate import generate
from selfinstruct.hardware import processor
from selfinstruct.records import Completion
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.journal import JournalWriter
from selfinstruct.run.lines import (
    ClassificationLine,
    InstanceCandidate,
    InstancesLine,
    InstructionCandidate,
    Line,
    Neighbour,
    ProposalLine,
    encode,
    to_json,
)

PER_PROPOSAL = 8
VOCABULARY = 50_000


# --------------------------------------------------------------------------------------------------------- the lines


def texts(draw: random.Random) -> Iterator[str]:
    """Yield instructions of 8 to 24 words of a Zipf-like distribution; no two are near-duplicates in practice."""
    while True:
        words = (f"w{int(VOCABULARY ** draw.random()):x}" for _ in range(draw.randint(8, 24)))
        yield f"{' '.join(words)}.".capitalize()


def run_lines(candidates: int, accepted_of_eight: int, seed: int = 0) -> Iterator[Line]:
    """Yield the lines of a run with this number of instruction candidates, and all follow-ups of the accepted ones."""
    draw = random.Random(seed)
    source = texts(draw)
    for n in range(candidates // PER_PROPOSAL):
        new = [next(source) for _ in range(PER_PROPOSAL)]
        near = Neighbour(f"seed_task_{draw.randrange(175)}", draw.random() / 2)
        evidence = {"nearest": {"id": near.id, "score": near.score}}
        candidates = tuple(
            InstructionCandidate(f"p{n:06d}-{k:02d}", text, accepted=True, nearest_seed=near)
            if k < accepted_of_eight
            else InstructionCandidate(f"p{n:06d}-{k:02d}", text, False, reason="near_duplicate", evidence=evidence)
            for k, text in enumerate(new)
        )
        listed = "\n".join(f"Task {k + 9}: {text}" for k, text in enumerate(new))
        shown = tuple(f"seed_task_{k}" for k in draw.sample(range(175), 6))
        yield ProposalLine(n, shown, Completion(listed, "stop", 400, 300), candidates)
        for candidate in candidates[:accepted_of_eight]:
            yield ClassificationLine(candidate.id, Completion(" No", "stop", 1800, 1), is_classification=False)
            shown_input, output = next(source), next(source)
            text = f"Example 1\nInput: {shown_input}\nOutput: {output}\n"
            kept = (InstanceCandidate(shown_input, output, accepted=True),)
            yield InstancesLine(candidate.id, "input_first", Completion(text, "stop", 1900, 90), kept)


# ----------------------------------------------------------------------------------------------------------- commits


def by_journal(interval: float) -> Callable[[Path, list[Line]], float]:
    def commit(folder: Path, lines: list[Line]) -> float:
        with JournalWriter(RunDirectory(folder).journal, interval) as journal:
            began = time.perf_counter()
            for line in lines:
                journal.append(line)
            return time.perf_counter() - began

    return commit


def by_plain_file(sync: bool) -> Callable[[Path, list[Line]], float]:
    def commit(folder: Path, lines: list[Line]) -> float:
        began = time.perf_counter()
        with (folder / "plain.jsonl").open("a", encoding="utf-8") as stream:
            for line in lines:
                stream.write(json.dumps(to_json(line)) + "\n")
                stream.flush()
                if sync:
                    os.fsync(stream.fileno())
        return time.perf_counter() - began

    return commit


def by_sqlite(synchronous: str) -> Callable[[Path, list[Line]], float]:
    def commit(folder: Path, lines: list[Line]) -> float:
        with sqlite3.connect(folder / "run.sqlite", isolation_level=None) as base:
            base.execute("PRAGMA journal_mode=WAL")
            base.execute(f"PRAGMA synchronous={synchronous}")
            base.execute("CREATE TABLE lines (line TEXT)")
            began = time.perf_counter()
            for line in lines:
                base.execute("INSERT INTO lines VALUES (?)", (encode(line).decode(),))
            took = time.perf_counter() - began
        base.close()
        return took

    return commit


WAYS: list[tuple[str, str, int, Callable[[Path, list[Line]], float]]] = [
    ("journal, `fsync_interval` 1 (default)", "the last second", 20, by_journal(1.0)),
    ("journal, `fsync_interval` 0.1", "the last 0.1 s", 20, by_journal(0.1)),
    ("journal, `fsync_interval` 0.01", "the last 0.01 s", 20, by_journal(0.01)),
    ("journal, `fsync_interval` 0 (every line)", "nothing", 1, by_journal(0.0)),
    ("`write` and `flush` per line, never an fsync", "up to 30 s and more, in any order", 20, by_plain_file(False)),
    ("`write`, `flush` and `fsync` per line", "nothing", 1, by_plain_file(True)),
    ("SQLite, WAL, synchronous=NORMAL, a commit per line", "since the last checkpoint", 20, by_sqlite("NORMAL")),
    ("SQLite, WAL, synchronous=FULL, a commit per line", "nothing", 1, by_sqlite("FULL")),
]


def commits(count: int, repetitions: int, folder: Path) -> None:
    """Print how many lines a second each way commits."""
    lines = [line for line, _ in zip(run_lines(10**9, 3), range(20 * count), strict=False)]
    size = statistics.mean(len(encode(line)) for line in lines)
    rates: dict[str, list[float]] = {}
    for _ in range(repetitions):  # In turns, so that other work on the machine disturbs all ways equally.
        for name, _, share, commit in WAYS:
            some = lines[: count * share]
            with tempfile.TemporaryDirectory(dir=folder) as directory:
                rates.setdefault(name, []).append(len(some) / commit(Path(directory), some))
    print(f"Lines of {size:,.0f} bytes on average; median of {repetitions} (lowest to highest).\n")
    print("| way | lines/s | what a power loss may cost |\n| --- | --- | --- |")
    for name, cost, _, _ in WAYS:
        least, most = min(rates[name]), max(rates[name])
        print(f"| {name} | {statistics.median(rates[name]):,.0f} ({least:,.0f} to {most:,.0f}) | {cost} |")


# ------------------------------------------------------------------------------------------------------------ resume


class _Reached(Exception):
    """The engine was asked for the first time."""


def resume(run: Path, target: int) -> dict[str, float]:
    """Resume the run in this process until its first request; seconds, CPU seconds and peak memory in GiB."""

    def reached(request: Request) -> Exception:
        marks["asked"] = time.perf_counter()
        return _Reached("enough")

    async def start() -> ScriptedEngine:
        marks["engine"] = time.perf_counter()
        return ScriptedEngine(reached)

    config = Config(model="scripted", output_dir=str(run), num_instructions=target, max_in_flight=1)
    marks = {"began": time.perf_counter()}
    with contextlib.suppress(_Reached):
        generate(config, start)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": marks.get("asked", 0) - marks["began"],
        "replay": marks["engine"] - marks["began"],
        "cpu": used.ru_utime + used.ru_stime,
        "memory": used.ru_maxrss / 2**20,
    }


def resuming(candidates: int, repetitions: int, folder: Path) -> None:
    """Print how long it takes to continue runs with this number of candidates."""
    print("\n| accepted | lines | journal | to the first request | of that, replay | CPU | peak memory |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for accepted in (1, 4, 8):
        with tempfile.TemporaryDirectory(dir=folder) as directory:
            run, target = Path(directory) / "run", candidates + 1
            resume(run, target)  # Writes the header.
            journal, count = RunDirectory(run).journal, 1
            with journal.open("ab") as stream:
                for line in run_lines(candidates, accepted):
                    stream.write(encode(line))
                    count += 1
            command = [sys.executable, __file__, "--resume", str(run), "--target", str(target)]
            measured = [json.loads(subprocess.run(command, stdout=-1, check=True).stdout) for _ in range(repetitions)]
            median = {name: statistics.median(row[name] for row in measured) for name in measured[0]}
            print(
                f"| {accepted * 100 / 8:.0f} % | {count:,} | {journal.stat().st_size / 1e9:.2f} GB "
                f"| {median['seconds']:.1f} s | {median['replay']:.1f} s | {median['cpu']:.1f} s "
                f"| {median['memory']:.2f} GiB |",
                flush=True,
            )


def main() -> None:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the lines")
    parser.add_argument("--repetitions", type=int, default=5, help="of each measurement")
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="where to write: a directory of the disk meant")
    parser.add_argument("--only", choices=("commits", "resume"), help="one of the two")
    parser.add_argument("--resume", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--target", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.resume:
        print(json.dumps(resume(options.resume, options.target)))
        return
    share: Any = 10 if options.quick else 1
    print(f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    if options.only != "resume":
        commits(2000 // share, options.repetitions, options.folder)
    if options.only != "commits":
        resuming(1_000_000 // share, options.repetitions, options.folder)


if __name__ == "__main__":
    main()
