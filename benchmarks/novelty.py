"""The novelty index: time and memory as the pool grows, other ways beside it, hard cases, single calls.

    python benchmarks/novelty.py               # everything up to a million: about ten minutes on 2 cores
    python benchmarks/novelty.py --quick       # up to 52,000: two minutes
    python benchmarks/novelty.py --large       # up to three million as well

Prints Markdown tables. Candidates are generated (`instructions`), the same ones on every machine. Times are wall-clock
medians over repetitions where that is said; user CPU time is given beside them, because it suffers less from what else
runs on the machine. Other ways are timed on a sample of pairs and multiplied; those figures are marked with "~".
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import psutil
from rouge_score import rouge_scorer

from selfinstruct.hardware import processor
from selfinstruct.novelty import NoveltyIndex, index, tokenize
from selfinstruct.novelty.scan import ScanIndex

SEEDS = 175
BATCH = 20_000
_CONSONANTS, _VOWELS = "bcdfghklmnprstvwz", "aeiou"


# ------------------------------------------------------------------------------------------------------------ corpora


def spell(number: int) -> str:
    """Return a word for a number, two letters per digit of base 85: frequent words are short, as in a language."""
    letters = []
    while True:
        number, digit = divmod(number, 85)
        letters.append(_CONSONANTS[digit % 17] + _VOWELS[digit // 17])
        if number == 0:
            return "".join(letters)


def instructions(count: int, *, seed: int = 0, duplicates: float = 0.52, vocabulary: int = 50_000) -> list[str]:
    """Return candidates like those of a run.

    Lengths are log-normal around 16 words (4 to 60). A new one opens with one of 300 phrases of two to four words and
    goes on with words of a Zipf distribution; one word in 50 was never seen before. A share of `duplicates` repeats an
    earlier candidate with up to four words replaced, dropped or added: most, not all, are near-duplicates.
    """
    draw = np.random.default_rng(seed)
    weights = 1.0 / (np.arange(vocabulary) + 2.7)
    zipf = np.cumsum(weights / weights.sum())
    openings = [np.searchsorted(zipf, draw.random(draw.integers(2, 5))).tolist() for _ in range(300)]
    lengths = np.clip(np.exp(draw.normal(2.7, 0.42, count)), 4, 60).astype(int)
    words = np.searchsorted(zipf, draw.random(int(lengths.sum()) + count * 4))
    fresh = draw.random(words.size) < 0.02
    words[fresh] = vocabulary + np.arange(int(fresh.sum()))
    is_duplicate = draw.random(count) < duplicates
    sources = (draw.random(count) * np.arange(count)).astype(int)
    edits = draw.integers(0, 5, count)
    which_opening = np.minimum(draw.zipf(1.3, count) - 1, 299)
    kinds, places = draw.integers(0, 3, (count, 4)), draw.random((count, 4))
    names: dict[int, str] = {}
    rows: list[np.ndarray] = []
    texts: list[str] = []
    at = 0
    for k in range(count):
        if is_duplicate[k] and k:
            row = rows[sources[k]].tolist()
            for kind, share in zip(kinds[k, : edits[k]].tolist(), places[k].tolist(), strict=False):
                where = int(share * len(row))
                at += 1
                if kind == 0:
                    row[where] = int(words[at])
                elif kind == 1 and len(row) > 4:
                    del row[where]
                else:
                    row.insert(where, int(words[at]))
        else:
            opening = openings[which_opening[k]]
            rest = max(int(lengths[k]) - len(opening), 2)
            row = opening + words[at : at + rest].tolist()
            at += rest
        rows.append(np.array(row, np.int32))
        for word in row:
            if word not in names:
                names[word] = spell(word)
        text = " ".join([names[word] for word in row])
        texts.append(text[0].upper() + text[1:] + ".")
    return texts


def hard_cases() -> dict[str, list[str]]:
    """Return corpora made to be slow: lists that are long, signatures that say nothing, texts that are long."""
    draw = random.Random(0)
    common = [spell(k) for k in range(200)]
    ideographs = [chr(0x4E00 + k) for k in range(3000)]
    weights = [1 / (k + 3) for k in range(3000)]

    def template(k: int) -> str:
        return (
            f"Write a short {spell(k % 700)} about {spell(700 + k % 5000)} and {spell(6000 + k)} for {spell(k % 900)}"
        )

    def long_text() -> str:
        return " ".join(spell(int(draw.paretovariate(0.6)) % 60_000) for _ in range(draw.randint(1500, 3000)))

    def near(text: str) -> str:
        words = text.split()
        for _ in range(len(words) // 5):
            words[draw.randrange(len(words))] = spell(draw.randrange(60_000))
        return " ".join(words)

    long_texts = [long_text() for _ in range(1000)]
    long_texts += [near(draw.choice(long_texts)) for _ in range(1000)]
    draw.shuffle(long_texts)
    return {
        "one template, changing words": [template(k) for k in range(50_000)],
        "a vocabulary of 200 words": [" ".join(draw.choices(common, k=draw.randint(8, 24))) for _ in range(50_000)],
        "texts of 1,500 to 3,000 words": long_texts,
        "ideographs": ["".join(draw.choices(ideographs, weights, k=draw.randint(8, 40))) for _ in range(50_000)],
    }


# ---------------------------------------------------------------------------------------------------------- measuring


class Clock:
    """Wall and user CPU time of a block, in seconds."""

    def __enter__(self) -> Clock:
        self._wall, self._user = time.perf_counter(), user_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall, self.user = time.perf_counter() - self._wall, user_time() - self._user


def user_time() -> float:
    """Return the user CPU time of this process, all threads, in seconds."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


def resident() -> float:
    """Return resident memory in MB (10^6 bytes)."""
    return psutil.Process().memory_info().rss / 1e6


def grow(made: NoveltyIndex, texts: Sequence[str]) -> int:
    """Decide on all texts in batches; returns how many were accepted."""
    return sum(int(made.decide(texts[k : k + BATCH]).accepted.sum()) for k in range(0, len(texts), BATCH))


def single_calls(made: NoveltyIndex, texts: Sequence[str]) -> list[float]:
    """Return the seconds of `accept` for each text, one per call."""
    took = []
    for text in texts:
        begun = time.perf_counter()
        made.accept(text)
        took.append(time.perf_counter() - begun)
    return took


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    print(f"\n### {title}\n")
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |", flush=True)


def microseconds(seconds: float) -> str:
    return (
        f"{seconds * 1e6:,.1f} µs"
        if seconds < 1e-3
        else f"{seconds * 1e3:,.1f} ms"
        if seconds < 1
        else f"{seconds:,.1f} s"
    )


# --------------------------------------------------------------------------------------------------------- the tables


def growth(texts: Sequence[str], count: int, repetitions: int) -> list[list[object]]:
    """Decide on `count` candidates after 175 seeds: rows as Verdicts and as columns, all threads and one."""
    rows: list[list[object]] = []
    for threads in sorted({len(os.sched_getaffinity(0)), 1}, reverse=True):
        walls, users, accepted, rows_walls = [], [], 0, []
        for _ in range(repetitions):
            made = NoveltyIndex(texts[:SEEDS], threads=threads)
            with Clock() as clock:
                accepted = grow(made, texts[SEEDS : SEEDS + count])
            walls.append(clock.wall)
            users.append(clock.user)
            del made
            made = NoveltyIndex(texts[:SEEDS], threads=threads)
            with Clock() as clock:
                for k in range(SEEDS, SEEDS + count, BATCH):
                    made.accept_batch(texts[k : min(k + BATCH, SEEDS + count)])
            rows_walls.append(clock.wall)
            del made
        rejected = 1 - accepted / count
        wall = statistics.median(walls)
        times = [f"{statistics.median(seconds):.2f} s" for seconds in (walls, users, rows_walls)]
        rows.append(
            [f"175 → {accepted:,}", f"{count:,}, {rejected:.0%} rejected", threads, *times, f"{count / wall:,.0f}"]
        )
    return rows


def rates(texts: Sequence[str], sizes: Sequence[int]) -> None:
    """Print candidates per second where the pool has a given size, single calls and memory there."""
    before = resident()
    made = NoveltyIndex(texts[:SEEDS])
    rows, at = [], SEEDS
    for size in sizes:
        while len(made) < size and at < len(texts):
            step = min(BATCH, max(1000, size - len(made)))
            made.decide(texts[at : at + step])
            at += step
        pool, sample = len(made), min(20_000, max(1000, size // 5))
        walls, users = [], []
        for _ in range(3):
            with Clock() as clock:
                made.decide(texts[at : at + sample])
            walls.append(clock.wall)
            users.append(clock.user)
            at += sample
        calls = single_calls(made, texts[at : at + sample // 4])
        at += sample // 4
        single = [microseconds(seconds) for seconds in (statistics.mean(calls), statistics.median(calls), max(calls))]
        rate = [f"{sample / statistics.median(walls):,.0f}", microseconds(statistics.median(users) / sample)]
        rows.append([f"{pool:,}", *rate, *single, f"{resident() - before:,.0f} MB"])
    table(
        "As the pool grows",
        ["pool", "candidates/s in batches", "user CPU each", "one per call: mean", "median", "slowest", "memory"],
        rows,
    )
    asked = texts[SEEDS : SEEDS + 40]
    with Clock() as one:
        for text in asked[:10]:
            made.nearest(text, 10)
    with Clock() as many:
        made.nearest_many(asked, 10)
    each = many.wall / len(asked)
    table(
        f"Ten most similar of {len(made):,}",
        ["one at a time", "many at once, each", "all of them"],
        [[microseconds(one.wall / 10), microseconds(each), f"~{each * len(made) / 3600:,.1f} hours"]],
    )


def rebuild(texts: Sequence[str]) -> None:
    """Print how long it takes from a journal's instructions to an index that answers."""
    rows = []
    for count in (52_000, 1_000_000):
        if count <= len(texts):
            made = NoveltyIndex(texts[:SEEDS])
            with Clock() as clock:
                made.add_many(texts[SEEDS:count])
                made.accept("Say hello to everybody who is here.")
            rows.append([f"{count:,}", f"{clock.wall:.2f} s", f"{clock.user:.2f} s"])
            del made
    table("Rebuilding", ["texts", "wall", "user CPU"], rows)


def others(texts: Sequence[str], sizes: Sequence[int]) -> None:
    """Print the time of one candidate against the whole pool, by the ways others take."""
    draw = random.Random(0)
    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
    pairs = [(draw.choice(texts), draw.choice(texts)) for _ in range(2000)]
    split = [(tokenize(a), tokenize(b)) for a, b in pairs]

    def each(work: Callable[[], object]) -> float:
        took = []
        for _ in range(3):
            with Clock() as clock:
                work()
            took.append(clock.user / len(pairs))
        return statistics.median(took)

    paper = each(lambda: [scorer.score(a, b) for a, b in pairs])
    alpaca = each(lambda: [rouge_scorer._score_lcs(a, b) for a, b in split])
    rows = []
    for size in sizes:
        made = NoveltyIndex(texts[:SEEDS])
        made.add_many(texts[SEEDS:size])
        plain = ScanIndex(0.7, SEEDS)
        plain.extend(texts[: min(size, 10_000)])
        sample = texts[-200:]
        with Clock() as scanning:
            plain.nearest(sample[:20], 1, [len(plain)] * 20)
        made.accept_batch(sample[:100])
        calls = single_calls(made, sample[100:])
        scan, ours = scanning.user / 20 * size / len(plain), statistics.mean(calls)
        ways = ["~" + microseconds(way) for way in (paper * size, alpaca * size, scan)]
        rows.append([f"{size:,}", *ways, microseconds(ours), f"{paper * size / ours:,.0f}", f"{scan / ours:,.0f}"])
        del made, plain
    table(
        "One candidate against the whole pool, one process",
        [
            *("pool", "paper: `RougeScorer.score`", "Alpaca: tokenised once", "RapidFuzz scan"),
            *("this index, one per call", "times faster than the paper's", "than RapidFuzz"),
        ],
        rows,
    )


def hard() -> None:
    rows = []
    for name, texts in hard_cases().items():
        made = NoveltyIndex(texts[:10])
        with Clock() as clock:
            accepted = grow(made, texts[10:])
        plain = ScanIndex(0.7)
        plain.extend(texts[:1000])
        sample = texts[-20:]
        with Clock() as scanning:
            plain.nearest(sample, 1, [len(plain)] * 20)
        scan = scanning.user / 20 / len(plain) * len(made)
        ours = clock.wall / (len(texts) - 10)
        rows.append([name, f"{len(texts):,}", f"{accepted:,}", microseconds(ours), "~" + microseconds(scan)])
    table("Hard cases", ["corpus", "candidates", "accepted", "each", "a RapidFuzz scan of the final pool"], rows)


def compiling() -> None:
    """Print what a process waits for in the background: kernels compiled, and loaded from numba's cache."""
    code = (
        "import time; t = time.perf_counter(); from selfinstruct.novelty import index; index.warm_up(); "
        "index._done.wait(); print(time.perf_counter() - t)"
    )
    with tempfile.TemporaryDirectory() as folder:
        took = [
            float(subprocess.run([sys.executable, "-c", code], env={**os.environ, "NUMBA_CACHE_DIR": folder},
                                 check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1]).stdout)
            for _ in range(2)
        ]  # fmt: skip
    table("In the background, once per process", ["first time", "later"], [[f"{took[0]:.1f} s", f"{took[1]:.2f} s"]])


def machine() -> None:
    packages = ", ".join(f"{name} {version(name)}" for name in ("numba", "numpy", "rapidfuzz", "rouge-score"))
    print(f"{len(os.sched_getaffinity(0))} × {processor()}; load {os.getloadavg()[0]:.1f} when begun")
    print(f"Python {platform.python_version()}, {packages}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="pools up to 52,000 only")
    parser.add_argument("--large", action="store_true", help="a pool of three million as well")
    parser.add_argument("--repetitions", type=int, default=3, help="of the growth runs (default 3)")
    options = parser.parse_args()
    machine()
    compiling()
    index.warm_up()
    index._done.wait()
    largest = 100_000 if options.quick else 6_400_000 if options.large else 2_200_000
    texts = instructions(largest + SEEDS)
    rows = growth(texts, 100_000, 2 * options.repetitions + 1)
    if not options.quick:
        rows += growth(texts, 2_000_000, options.repetitions)
    table(
        "Growing from 175 seeds, tokenising included",
        ["pool", "candidates", "threads", "wall", "user CPU", "wall with `Verdict` rows", "candidates/s"],
        rows,
    )
    sizes = [1_000, 10_000] + ([45_000] if options.quick else [52_000, 200_000, 1_000_000])
    rates(texts, sizes + ([3_000_000] if options.large else []))
    rebuild(texts)
    others(texts, [1_000, 52_000] if options.quick else [1_000, 52_000, 1_000_000])
    hard()


if __name__ == "__main__":
    main()
