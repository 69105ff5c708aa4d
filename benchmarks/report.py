"""The report: time, memory and size for a run of 100,000 instructions.

    python -m benchmarks.report                   # 0.2 GB of disk; docs/benchmarks.md has its times
    python -m benchmarks.report --like runs/night # with the training and the evaluation of a run, too
    python -m benchmarks.report --instructions 1000

Prints a Markdown table. The journal is scripted: English imperatives of common words, a third of them
too close to another, two proposers with topics, a row for each instruction with its score, and the measurements of a
night with a pause.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from selfinstruct.config.schema import Config
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.generation.generate import generate
from selfinstruct.hardware import processor
from selfinstruct.records import Completion
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.journal import read_lines
from selfinstruct.run.lines import (
    ClassificationLine,
    Header,
    InstanceCandidate,
    InstancesLine,
    InstructionCandidate,
    Line,
    Neighbour,
    ProposalLine,
    ScoreLine,
    encode,
)

_VERBS = (
    "write explain list describe compare summarise translate find create name rewrite classify suggest plan".split()
)
_NOUNS = (
    "poem letter recipe river city bridge garden story rule law price tool plant animal engine lesson teacher school "
    "market island forest planet song dance game machine method error number table answer question sentence language "
    "holiday journey winter summer morning neighbour sister uncle doctor farmer sailor budget contract kitchen"
).split()
_OTHERS = (
    "short long old new clear strange simple useful famous quiet for about with without near after before of in on and "
    "while because she he they every many three seven early late north south red green carefully quickly"
).split()
_TOPICS = tuple(f"{noun} and {other}" for noun, other in zip(_NOUNS, reversed(_NOUNS), strict=True))
_REASONS = ("near_duplicate", "near_duplicate", "too_short", "keyword", "identical")
_OF_A_PROPOSAL, _ACCEPTED = 6, 4


def texts(draw: random.Random) -> Iterator[str]:
    """Yield imperatives of 8 to 24 words."""
    while True:
        words = (draw.choice(_NOUNS if draw.random() < 0.5 else _OTHERS) for _ in range(draw.randint(6, 22)))
        yield f"{draw.choice(_VERBS)} a {draw.choice(_NOUNS)} {' '.join(words)}.".capitalize()


def lines(instructions: int, seed: int = 0) -> Iterator[Line]:
    """Yield the lines of a run after its header.

    Args:
        instructions: how many are accepted; a multiple of four.
        seed: of every choice.
    """
    draw = random.Random(seed)
    source = texts(draw)
    for n in range(instructions // _ACCEPTED):
        new = [next(source) for _ in range(_OF_A_PROPOSAL)]
        near = Neighbour(f"seed_{draw.randrange(175):03d}", 0.7 * draw.random())
        evidence = {"nearest": {"id": f"p{n // 2:06d}-00" if n else near.id, "score": 0.7 + 0.3 * draw.random()}}
        candidates = tuple(
            InstructionCandidate(f"p{n:06d}-{k:02d}", text, accepted=True, nearest_seed=near)
            if k < _ACCEPTED
            else InstructionCandidate(f"p{n:06d}-{k:02d}", text, False, reason=draw.choice(_REASONS), evidence=evidence)
            for k, text in enumerate(new)
        )
        shown = tuple(f"seed_{k:03d}" for k in draw.sample(range(175), 6))
        listed = Completion("\n".join(new), "stop", 400, 300)
        proposer, topic = draw.choice(("list", "plan")), draw.choice(_TOPICS)
        yield ProposalLine(n, shown, listed, candidates, proposer=proposer, topic=topic)
        for candidate in candidates[:_ACCEPTED]:
            yield ClassificationLine(candidate.id, Completion(" No", "stop", 1800, 1), is_classification=False)
            task_input, output = next(source), " ".join(next(source) for _ in range(3))
            if draw.random() < 0.01:
                output += f" Write to {draw.choice(_NOUNS)}@{draw.choice(_NOUNS)}.org."
            kept = (InstanceCandidate(task_input, output, accepted=True),)
            written = Completion(f"Input: {task_input}\nOutput: {output}\n", "stop", 1900, 90)
            yield InstancesLine(candidate.id, "input_first", written, kept)
            yield ScoreLine(
                candidate.id, 0, 0, scorer="judge", model="scripted", version="1", value=1 + 4 * draw.random()
            )


class _Begun(Exception):
    """The run has begun."""


def make_run(run: Path, instructions: int, like: Path | None) -> None:
    """Write a run directory.

    Args:
        run: where.
        instructions: how many are accepted.
        like: a run whose training and evaluation are copied.
    """

    async def start() -> ScriptedEngine:
        return ScriptedEngine(lambda _: _Begun())

    with contextlib.suppress(_Begun):  # The header is there when the engine is asked for the first time.
        generate(Config(model="scripted", output_dir=str(run), num_instructions=1), start)
    files = RunDirectory(run)
    (header, *_) = read_lines(files.journal)
    assert isinstance(header, Header)
    with files.journal.open("wb") as stream:
        stream.write(encode(msgspec.structs.replace(header, num_instructions=instructions)))
        stream.writelines(map(encode, lines(instructions)))
    with files.metrics_path.open("w", encoding="utf-8") as stream:
        for k in range(5_000):  # Seven hours, and a pause of one after the fourth.
            done = {
                "accepted": instructions * k // 5_000,
                "elapsed_s": 5.0 * k,
                "completion_tokens_per_s": 9_000 + k % 97,
            }
            stream.write(json.dumps({"time": 1_790_000_000 + 5 * k + (3_600 if k > 2_880 else 0)} | done) + "\n")
    if like is not None:
        shutil.copytree(RunDirectory(like).evaluation.path, files.evaluation.path)
        files.model.path.mkdir()
        shutil.copy(RunDirectory(like).model.record_path, files.model.path)


def measure(run: Path) -> dict[str, float]:
    """Write the report of a run in this process, and return what it took."""
    from selfinstruct.report.page import write_report

    began = time.perf_counter()
    path = write_report(run, gpu_price=2.5)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": time.perf_counter() - began,
        "cpu": used.ru_utime + used.ru_stime,
        "memory": used.ru_maxrss / 2**20,
        "bytes": path.stat().st_size,
    }


def main() -> None:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instructions", type=int, default=100_000, help="accepted ones; a multiple of four")
    parser.add_argument("--like", type=Path, help="a run whose training and evaluation are shown, too")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        print(json.dumps(measure(options.run)))
        return
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        make_run(run, options.instructions, options.like)
        command = [sys.executable, "-m", "benchmarks.report", "--run", str(run)]
        took = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        journal = RunDirectory(run).journal.stat().st_size
    print(f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print("| instructions | journal | seconds | processor seconds | peak memory | page |")
    print("| --- | --- | --- | --- | --- | --- |")
    print(
        f"| {options.instructions:,} | {journal / 1e6:,.0f} MB | {took['seconds']:.0f} | {took['cpu']:.0f} "
        f"| {took['memory']:.2f} GiB | {took['bytes'] / 1e3:,.0f} kB |"
    )


if __name__ == "__main__":
    main()
