"""How many GPUs one driver keeps busy: the whole driver in virtual time, beside simulated replicas.

    python -m benchmarks.scale                                   # 1, 8 and 64 GPUs
    python -m benchmarks.scale --gpus 2 4 --minutes 3 --window 4096

The driver is the real one: prompts and their tokens, scheduler, parsers, filters, novelty, the journal on disk. Its
processor time passes in virtual time, so that replicas run dry while it computes; waiting takes no time, and what the
simulation itself computes is not counted. A replica has 1,024 places and answers as in `benchmarks/window.py` (a step
of n sequences takes 10 + 0.05 n ms, half of the proposed tasks rejected), so that a full one writes 16,700 tokens/s.
That is assumed, not measured. No answer runs away here: one would hold back what comes after it for a minute. What
vLLM, or a client of a server, computes in the driver's process for each request is in no figure.

The second half of the time is reported, when the replicas are full or the driver is saturated. Accepted instructions
are those of all the time, because they come in waves: many proposals at first, and then what follows from them. With
the default window 1,536 proposals are in flight at most; here it is as large as the replicas' places together, and at
most 8,192.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.window import PLACES, SimulatedEngine, VirtualTimeLoop, answer
from selfinstruct.config.schema import Config
from selfinstruct.engines import chat_templates
from selfinstruct.engines.base import Request, most_in_flight
from selfinstruct.engines.tokenized_prompts import TokenizedPrompts
from selfinstruct.formats.seed_tasks import load_seed_tasks
from selfinstruct.generation.budget import BudgetTracker
from selfinstruct.generation.method import Method
from selfinstruct.generation.pipeline import Pipeline
from selfinstruct.generation.steps import Steps
from selfinstruct.novelty import index
from selfinstruct.records import Completion
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.journal import JournalWriter
from selfinstruct.run.lines import VERSION, Header
from selfinstruct.run.state import RunState

DEMO = Path(__file__).parents[1] / "selfinstruct" / "demo" / "model"
RUNAWAYS = 0.0
_LARGEST_WINDOW = 8192
CONTEXT = 8192


class DriverTimeLoop(VirtualTimeLoop):
    """An event loop in which waiting takes no time, and computing takes the processor time of this thread."""

    def __init__(self) -> None:
        super().__init__()
        self._uncounted = time.thread_time()

    def driver_s(self) -> float:
        """Return the processor seconds that were counted."""
        return time.thread_time() - self._uncounted

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return super().time() + self.driver_s()

    @contextlib.contextmanager
    def uncounted(self) -> Iterator[None]:
        """Compute something that is not the driver's work."""
        began = time.thread_time()
        yield
        self._uncounted += time.thread_time() - began


class Replica(SimulatedEngine):
    """A simulated engine whose own work takes no time of the driver."""

    def _turn(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, DriverTimeLoop)
        with loop.uncounted():
            super()._turn()


class Replicas(TokenizedPrompts):
    """Takes prompts as vLLM's engine does, as tokens; each request goes to the replica with the fewest."""

    def __init__(self, tokenizer: Any, number: int) -> None:
        super().__init__(tokenizer, CONTEXT, {})
        self.replicas = [Replica(RUNAWAYS) for _ in range(number)]
        self.in_flight = [0] * number
        self.capacity = number * PLACES
        self.requests = 0

    async def generate(self, request: Request) -> Completion:
        """Answer when the replica has computed as many steps as the answer has tokens."""
        prompt_tokens = len(self.encode(request.prompt, thinking=request.thinking))
        loop = asyncio.get_running_loop()
        assert isinstance(loop, DriverTimeLoop)
        with loop.uncounted():
            number = self.in_flight.index(min(self.in_flight))
            replica = self.replicas[number]
            self.in_flight[number] += 1
            text, length, reason = answer(request, random.Random(f"{request.key} {request.prompt}"), RUNAWAYS)
            done: asyncio.Future[None] = loop.create_future()
            replica._waiting.append((length, done))
            replica._turn()
        try:
            await done
        finally:
            self.in_flight[number] -= 1
        self.requests += 1
        replica.tokens += length
        return Completion(text, reason, prompt_tokens, length)

    def progress(self) -> int:
        """Return the tokens of all answers."""
        return sum(replica.tokens for replica in self.replicas)


@dataclass(frozen=True)
class Sample:
    """What was reached at a moment: seconds, the driver's seconds, counts, busy places of all, journal bytes."""

    at: float
    driver_s: float
    requests: int
    tokens: int
    accepted: int
    busy: float
    journal: int


def _size(file: Path) -> int:
    return file.stat().st_size


async def _run(tokenizer: Any, gpus: int, window: int, seconds: float, folder: Path) -> list[Sample]:
    config = Config.model_validate({"model": "simulated", "num_instructions": 10**8, "window": window})
    loop = asyncio.get_running_loop()
    assert isinstance(loop, DriverTimeLoop)
    engine, state, method = Replicas(tokenizer, gpus), RunState(), Method.of(config)
    state.apply(Header(VERSION, {}, {}, config.num_instructions))
    in_flight = most_in_flight(None, engine)
    budget = BudgetTracker(config.limits, method, state, loop.time)
    budget.engine_started(0.0, in_flight)
    steps = Steps(method, load_seed_tasks(config.seeds), [], engine, "completion")
    samples: list[Sample] = []

    async def watch(journal: Path) -> None:
        while True:
            await asyncio.sleep(0.5)
            with loop.uncounted():
                busy = sum(replica.busy for replica in engine.replicas) / engine.capacity
                counts = engine.requests, engine.progress(), len(state.pool), busy, _size(journal)
            samples.append(Sample(loop.time(), loop.driver_s(), *counts))

    with JournalWriter(RunDirectory(folder).journal) as journal:
        pipeline = Pipeline(
            steps,
            engine,
            state,
            journal.append,
            budget=budget,
            saturation=config.saturation,
            max_in_flight=in_flight,
        )
        watching = asyncio.ensure_future(watch(RunDirectory(folder).journal))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await pipeline.run()
        watching.cancel()
    return samples


def simulate(tokenizer: Any, gpus: int, window: int, seconds: float) -> list[Sample]:
    """Return samples of a run of a number of virtual seconds."""
    with (
        tempfile.TemporaryDirectory(prefix="scale-") as folder,
        asyncio.Runner(loop_factory=DriverTimeLoop) as runner,
    ):
        return runner.run(_run(tokenizer, gpus, window, seconds, Path(folder)))


def row(gpus: int, window: int, samples: list[Sample]) -> str:
    """Return the line of the table: the second half of the samples."""
    half = samples[len(samples) // 2 :]
    if len(half) < 2:
        return f"| {gpus} | {window:,} | too short: the driver was at its first prompts all the time |"
    first, last = half[0], half[-1]
    seconds, requests = last.at - first.at, last.requests - first.requests
    cpu_s = last.driver_s - first.driver_s
    cells = (
        f"{gpus}",
        f"{window:,}",
        f"{sum(sample.busy for sample in half) / len(half):.1%}",
        f"{requests / seconds:,.0f}",
        f"{(last.tokens - first.tokens) / seconds:,.0f}",
        f"{cpu_s / seconds:.0%}",
        f"{1000 * cpu_s / max(1, requests):.2f}",
        f"{last.accepted:,}",
        f"{last.journal / max(1, last.accepted):,.0f}",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--minutes", type=float, default=2.0, help="of virtual time, for each number of GPUs")
    parser.add_argument("--window", type=int, help="proposals in flight; default: see above")
    parser.add_argument("--tokenizer", default=str(DEMO), help="folder or name of a model; default: the demo model")
    arguments = parser.parse_args()
    tokenizer = chat_templates.load_tokenizer(arguments.tokenizer)
    index.warm_up()  # Its thread would compete with the first run.
    index._done.wait()
    print(f"{len(tokenizer):,} tokens")
    print("| GPUs | window | busy | requests/s | tokens/s | driver CPU | CPU ms per request ", end="")
    print("| accepted in all | journal bytes for each |")
    print("|---" * 9 + "|")
    for gpus in arguments.gpus:
        window = arguments.window or min(max(1536, gpus * PLACES), _LARGEST_WINDOW)
        print(row(gpus, window, simulate(tokenizer, gpus, window, 60 * arguments.minutes)), flush=True)
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024:,} MiB")


if __name__ == "__main__":
    main()
