"""Whether the engine waits: a run's output tokens per second beside what the same vLLM reaches at best.

    python benchmarks/throughput.py --results throughput.jsonl          # demo model, at least 2,000 requests
    python benchmarks/throughput.py --small                             # a minute, to try the script

Three ways to answer the same requests on one engine, by turns, its prefix cache emptied before each:

    run        `generate`: prompts, filters, novelty and journal included
    at once    the requests of that run, with their prompts and sampling, all handed over together
    lock step  the same, kind by kind in batches: the next batch when the slowest answer of the last one is there

Efficiency is the run's tokens per second over those of `at once`. Lock step has no filters here, which flatters it.
Every request has a seed, so that the three ways write about the same (not on a CPU, where vLLM gets none). With
`--results` each measurement is kept, and the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import re
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from selfinstruct.config.schema import Config
from selfinstruct.engines.base import Engine, Request, RequestFailed
from selfinstruct.engines.vllm import VLLMEngine
from selfinstruct.generation.generate import generate
from selfinstruct.records import Completion, Prompt

KINDS = ("proposal", "is_task", "classification", "instances", "answer")
OF_A_RUN = re.compile(r"(?:proposal/|(?:is_task|classification|instances|answer)/p)\d")
SEEDED = {"sampling_seed": True}
WAYS = ("run", "at once", "lock step")


class Kept:
    """An engine that notes its requests, and is not closed by the run that uses it."""

    def __init__(self, engine: VLLMEngine) -> None:
        self.engine = engine
        self.context_length, self.capacity = engine.context_length, engine.capacity
        self.has_chat_template, self.brings_chat_template = engine.has_chat_template, engine.brings_chat_template
        self.tells_logprobs = engine.tells_logprobs
        self.requests: list[Request] = []
        self.tokens = 0
        self.began = self.ended = 0.0

    def count_tokens(self, prompt: Prompt) -> int:
        """Return the engine's count."""
        return self.engine.count_tokens(prompt)

    def progress(self) -> int:
        """Return the engine's progress."""
        return self.engine.progress()

    async def generate(self, request: Request) -> Completion:
        """Answer, and note when."""
        if not OF_A_RUN.match(request.key):  # The questions before a run begins.
            return await self.engine.generate(request)
        self.began = self.began or time.perf_counter()
        completion = await self.engine.generate(request)
        self.requests.append(request)  # Not those that the run takes back at its end.
        self.tokens += completion.completion_tokens
        self.ended = time.perf_counter()
        return completion

    async def close(self) -> None:
        """Leave the engine as it is."""


async def ask(engine: VLLMEngine, batches: Iterator[Sequence[Request]]) -> tuple[int, float]:
    """Answer batch after batch; return tokens and seconds."""
    began, tokens = time.perf_counter(), 0
    for batch in batches:
        answers = await asyncio.gather(*map(engine.generate, batch), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, RequestFailed):
                raise answer
            tokens += answer.completion_tokens if isinstance(answer, Completion) else 0
    return tokens, time.perf_counter() - began


def in_lock_step(requests: Sequence[Request], size: int) -> Iterator[Sequence[Request]]:
    """Yield the requests kind by kind, in batches."""
    for kind in KINDS:
        of_kind = [request for request in requests if request.key.partition("/")[0] == kind]
        yield from (of_kind[first : first + size] for first in range(0, len(of_kind), size))


def options(arguments: argparse.Namespace, folder: str) -> dict[str, Any]:
    sections = ("proposal", "classification", "instances", "answer")
    return {
        "model": arguments.model,
        "output_dir": folder,
        "num_instructions": arguments.instructions,
        "engine": {"max_model_len": arguments.context, "max_num_seqs": arguments.places},
        **{section: dict(SEEDED) for section in sections},
    }


def measure(arguments: argparse.Namespace, done: list[dict[str, Any]], note: Any) -> None:
    """Measure what is not measured yet; one event loop holds the engine, as vLLM wants it."""
    configuration = Config.model_validate(options(arguments, "unused"))

    async def start() -> VLLMEngine:
        return await VLLMEngine.start(configuration.model, arguments=dict(configuration.engine))

    for turn in range(arguments.repeat):
        if any(row["turn"] == turn for row in done):
            continue
        note(turn, one_turn(arguments, start))


def one_turn(arguments: argparse.Namespace, start: Any) -> dict[str, Any]:
    """Measure all three ways once, on one engine."""
    kept: list[Kept] = []
    rows: dict[str, Any] = {}

    class Closing(Kept):
        """The run's engine; at its end the same requests are asked in the other ways."""

        async def close(self) -> None:
            try:
                if not rows and self.requests and len(kept) == 1:
                    rows["run"] = (self.tokens, self.ended - self.began)
                    size = self.engine.capacity
                    for way, batches in (("at once", iter([self.requests])), ("lock step", None)):
                        await self.engine._llm.reset_prefix_cache()
                        rows[way] = await ask(self.engine, batches or in_lock_step(self.requests, size))
            finally:  # Its threads would keep this process alive.
                await self.engine.close()

    async def start_engine() -> Engine:
        kept.append(Closing(await start()))
        return kept[-1]

    with tempfile.TemporaryDirectory(prefix="throughput-") as folder:
        state = generate(Config.model_validate(options(arguments, folder)), start_engine)
    if len(kept) != 1:
        raise SystemExit("the engine died during the run, so that its speed says nothing; see the remarks above")
    return {
        "requests": len(kept[0].requests),
        "accepted": len(state.pool),
        **{way: {"tokens": tokens, "seconds": round(seconds, 2)} for way, (tokens, seconds) in rows.items()},
    }


def table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of a table of medians."""
    speeds = {way: [row[way]["tokens"] / row[way]["seconds"] for row in rows] for way in WAYS}
    shares = {way: [s / best for s, best in zip(speeds[way], speeds["at once"], strict=True)] for way in WAYS}
    yield f"medians of {len(rows)} turns, {rows[-1]['requests']:,} requests each"
    yield "| way | tokens | seconds | tokens/s | of at once |"
    yield "|---" * 5 + "|"
    for way in WAYS:
        tokens, seconds = (statistics.median(row[way][name] for row in rows) for name in ("tokens", "seconds"))
        share = f"{statistics.median(shares[way]):.1%} ({min(shares[way]):.1%} to {max(shares[way]):.1%})"
        yield f"| {way} | {tokens:,.0f} | {seconds:,.1f} | {statistics.median(speeds[way]):,.0f} | {share} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--places", type=int, default=32, help="requests that the engine answers at a time")
    parser.add_argument("--instructions", type=int, default=1000, help="about 2.3 requests each")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--results", type=Path, help="file of the measurements, one turn a line")
    parser.add_argument("--small", action="store_true", help="one short turn, which shows only that the script works")
    arguments = parser.parse_args()
    if arguments.small:
        arguments.instructions, arguments.repeat = 10, 1
    done: list[dict[str, Any]] = []
    if arguments.results and arguments.results.exists():
        done = [json.loads(line) for line in arguments.results.read_text().splitlines()]

    def note(turn: int, row: dict[str, Any]) -> None:
        done.append({"turn": turn, **row})
        if arguments.results:
            with arguments.results.open("a") as stream:
                stream.write(json.dumps(done[-1]) + "\n")

    measure(arguments, done, note)
    print("\n".join(itertools.chain([""], table(done))))


if __name__ == "__main__":
    main()
