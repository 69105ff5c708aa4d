"""How many places of a large engine are busy: the real pipeline in virtual time, on a simulated engine.

    python benchmarks/window.py                  # the window of old and the present one, 2 % and 5 % runaways
    python benchmarks/window.py --minutes 20
    python benchmarks/window.py --targets 4000 25600 40960    # whole runs of these sizes
    python benchmarks/window.py --small          # runs of few instructions, on a large and on a small engine

The engine has 1,024 places. A step of n sequences takes 10 + 0.05 n ms (assumed, not measured), so that a full one
writes 16,700 tokens/s. Lengths: eight tasks of 16 words on average (the paper's mean; log-normal), one token for a
classification, 90 tokens (median, log-normal) for instances. A runaway goes on up to `max_tokens`; none of them counts
as a loop here. Half of the proposed tasks are rejected. With --small, a second engine, as on a few cores,
has 256 places and takes 40 + 8 n ms for a step (assumed as well).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import heapq
import itertools
import math
import random
import selectors
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from selfinstruct.config.schema import Config
from selfinstruct.engines.base import Request, most_in_flight
from selfinstruct.formats.seed_tasks import load_seed_tasks
from selfinstruct.generation.budget import BudgetTracker
from selfinstruct.generation.method import Method
from selfinstruct.generation.pipeline import Pipeline
from selfinstruct.generation.steps import Steps
from selfinstruct.generation.window import first_window, window_soon
from selfinstruct.records import Completion, Prompt
from selfinstruct.run.lines import VERSION, Header
from selfinstruct.run.state import RunState

PLACES = 1024
TOKENS_PER_WORD = 1.35
LAST = 40
"""Readings at the end of a run, 20 s, when nothing is left to ask."""
SMALL_TARGETS = (12, 50, 200, 600, 1200)
OLD = {"window": 96, "window_share": 0.0, "max_in_flight": 512, "proposal": {"max_tokens": 1024}}


# ------------------------------------------------------------------------------------------------------ virtual time


class _Selector(selectors.SelectSelector):
    """Waits for nothing; the time that it was to wait is added to the clock."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready:
            self.now += timeout or 0.0
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop in which waiting takes no time and computing none of the loop's time."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._virtual.now


# -------------------------------------------------------------------------------------------------------- the engine


@dataclass
class SimulatedEngine:
    """Answers like a model, and computes all its requests at the same rate, as continuous batching does.

    Attributes:
        runaways: share of proposals and instances that go on up to `max_tokens`.
        capacity: places.
        step_s: seconds of a step, and seconds more for each sequence in it.
    """

    runaways: float
    capacity: int = PLACES
    step_s: tuple[float, float] = (0.010, 0.000_05)
    context_length: int = 1_000_000
    has_chat_template: bool = False
    brings_chat_template: bool = False
    tells_logprobs: bool = False
    busy: int = 0
    tokens: int = 0
    proposals: int = 0
    computed: float = 0.0  # tokens, those of dropped answers among them
    _position: float = 0.0  # tokens that a sequence has that was there from the beginning
    _since: float = 0.0
    _ends: list[tuple[float, int, asyncio.Future[None]]] = field(default_factory=list)
    _waiting: list[tuple[int, asyncio.Future[None]]] = field(default_factory=list)
    _timer: asyncio.TimerHandle | None = None
    _number: Any = field(default_factory=itertools.count)

    def count_tokens(self, prompt: Prompt) -> int:
        """Return a rough number; the context is large enough for every prompt."""
        return len(str(prompt)) // 4

    def progress(self) -> int:
        """Return the number of tokens of all answers."""
        return self.tokens

    async def close(self) -> None:
        """Do nothing: there is nothing to free."""

    async def generate(self, request: Request) -> Completion:
        """Answer when as many steps are over as the answer has tokens."""
        draw = random.Random(f"{request.key} {request.prompt}")
        self.proposals += request.key.startswith("proposal/")
        text, length, reason = answer(request, draw, self.runaways)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((length, done))
        self._turn()
        await done
        self.tokens += length
        return Completion(text, reason, 0, length)

    def _turn(self) -> None:
        """End the sequences that are finished, begin those that wait while there is a place."""
        loop = asyncio.get_running_loop()
        if self.busy:
            steps = (loop.time() - self._since) / self._step()
            self._position += steps
            self.computed += steps * self.busy
        self._since = loop.time()
        while self._ends and (self._ends[0][0] <= self._position + 1e-6 or self._ends[0][2].done()):
            _, _, done = heapq.heappop(self._ends)
            if not done.done():
                done.set_result(None)
        self._waiting = [(length, done) for length, done in self._waiting if not done.done()]
        room = self.capacity - len(self._ends)
        for length, done in self._waiting[:room]:
            heapq.heappush(self._ends, (self._position + length, next(self._number), done))
        del self._waiting[:room]
        self.busy = len(self._ends)
        if self._timer is not None:
            self._timer.cancel()
        if self._ends:
            self._timer = loop.call_later((self._ends[0][0] - self._position) * self._step(), self._turn)

    def _step(self) -> float:
        fixed, each = self.step_s
        return fixed + each * self.busy


def answer(request: Request, draw: random.Random, runaways: float) -> tuple[str, int, Any]:
    """Return the text, its length in tokens, and how it ends."""
    kind = request.key.partition("/")[0]
    most = request.sampling.max_tokens
    if kind == "classification":
        return draw.choice([" Yes", " No", " No", " No"]), 1, "stop"
    if kind == "instances":
        length = most if draw.random() < runaways else min(most, round(draw.lognormvariate(math.log(90), 0.7)))
        return "Input: a text\nOutput: an answer", length, "stop" if length < most else "length"
    tasks = [_task(draw, str(request.prompt)) for _ in range(8)]
    length = sum(round(len(task.split()) * TOKENS_PER_WORD) + 5 for task in tasks)
    length = most if draw.random() < runaways else min(most, length)
    first = str(request.prompt).count("\nTask ")
    text = "".join(f"{f'Task {first + k}:' if k else ''} {task}\n" for k, task in enumerate(tasks))
    return text, length, "stop" if length < most else "length"


def _task(draw: random.Random, prompt: str) -> str:
    """Return a new task, or, half of the time, one that the prompt shows."""
    if draw.random() < 0.5:
        shown = [line.partition(": ")[2] for line in prompt.splitlines() if line.startswith("Task ")]
        return draw.choice([task for task in shown if task])
    number = max(4, round(draw.lognormvariate(math.log(14.6), 0.4)))
    return " ".join("".join(draw.choices("bcdfglmnprstvz", k=2)) + draw.choice("aeiou") for _ in range(number))


# --------------------------------------------------------------------------------------------------------- the table


@dataclass
class Measured:
    """One simulated run.

    Attributes:
        busy: share of the engine's places that are busy, twice a second.
        proposals: number of committed proposals.
        old_pool: share of them that saw a pool older than a quarter of the run.
        asked: number of proposals that were begun.
        accepted: number of instructions.
        first_s: when the first proposal was committed.
        ended_s: when the run ended.
        tokens: of all answers.
        dropped: tokens that were written for proposals that the run did not need any more.
        cpu_s: of the driver, with the simulation itself.
    """

    busy: list[float]
    proposals: int
    old_pool: float
    asked: int
    accepted: int
    first_s: float
    ended_s: float
    tokens: int
    dropped: float
    cpu_s: float


async def _run(options: dict[str, Any], engine: SimulatedEngine, seconds: float) -> Measured:
    config = Config.model_validate({"model": "simulated", "num_instructions": 10_000_000} | options)
    loop = asyncio.get_running_loop()
    state, method = RunState(), Method.of(config)
    state.apply(Header(VERSION, {}, {}, config.num_instructions))
    seeds = load_seed_tasks(config.seeds)
    in_flight = most_in_flight(config.max_in_flight, engine)
    budget = BudgetTracker(config.limits, method, state, loop.time)
    budget.engine_started(0.0, in_flight)
    pipeline = Pipeline(
        Steps(method, seeds, [], engine, "completion"),
        engine,
        state,
        lambda line: None,
        budget=budget,
        saturation=config.saturation,
        max_in_flight=in_flight,
    )
    busy: list[float] = []
    commits: list[float] = []
    pipeline.on_commit = lambda line: commits.append(loop.time())

    async def watch() -> None:
        while True:
            await asyncio.sleep(0.5)
            busy.append(engine.busy / engine.capacity)

    watching, began = asyncio.ensure_future(watch()), time.process_time()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await pipeline.run()
    watching.cancel()
    old = sum(n - method.last_seen(n) > state.proposals / 4 for n in range(state.proposals))
    share = old / max(1, state.proposals)
    return Measured(
        busy,
        state.proposals,
        share,
        asked=engine.proposals,
        accepted=len(state.pool),
        first_s=min(commits, default=math.inf),
        ended_s=loop.time(),
        tokens=engine.tokens,
        dropped=engine.computed - engine.tokens,
        cpu_s=time.process_time() - began,
    )


def simulate(options: dict[str, Any], engine: SimulatedEngine, seconds: float) -> Measured:
    """Run the pipeline for a limited number of seconds of virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(_run(options, engine, seconds))


def _row(name: str, runaways: float, seconds: float, measured: Measured) -> Sequence[str]:
    later = measured.busy[120:]
    return (
        name,
        f"{runaways:.0%}",
        f"{sum(measured.busy[:120]) / 120:.1%}",
        f"{sum(later) / len(later):.1%}",
        f"{min(later):.1%}",
        f"{measured.tokens / seconds:,.0f}",
        f"{measured.accepted:,}",
        f"{measured.proposals:,}",
        f"{measured.old_pool:.1%}",
        f"{measured.cpu_s / seconds:.0%}",
    )


def _whole(targets: Sequence[int]) -> None:
    """Print what runs with these numbers of instructions do, from their beginning to their end, with 5 % runaways."""
    print("| target | windows | proposals | end, s | busy in minute 1 | after it | pool older than a quarter |")
    print("|---" * 7 + "|")
    for target in targets:
        one = simulate({"num_instructions": target}, SimulatedEngine(0.05), 86_400)
        first = one.busy[: min(120, len(one.busy) - LAST)]
        later = one.busy[120:-LAST]
        after = f"{sum(later) / len(later):.1%}" if later else ""
        window = first_window(target)
        print(
            f"| {target:,} | {window:,} to {window_soon(window):,} | {one.proposals:,} | {one.ended_s:.0f} "
            f"| {sum(first) / len(first):.1%} | {after} | {one.old_pool:.1%} |",
            flush=True,
        )


def _small(windows: Sequence[int]) -> None:
    """Print what the first window costs a run of few instructions."""
    print("| engine | target | window | first commit, s | end, s | proposals begun | committed | dropped tokens |")
    print("|---" * 8 + "|")
    for name, places, step_s in (("large", PLACES, (0.010, 0.000_05)), ("small", 256, (0.040, 0.008))):
        for target in SMALL_TARGETS:
            for window in dict.fromkeys([first_window(target), *windows]):
                options = {"num_instructions": target, "window": window}
                one = simulate(options, SimulatedEngine(0.02, places, step_s), 86_400)
                share = one.dropped / (one.tokens + one.dropped)
                print(
                    f"| {name} | {target:,} | {window} | {one.first_s:.0f} | {one.ended_s:,.0f} | {one.asked} "
                    f"| {one.proposals} | {share:.0%} |",
                    flush=True,
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=6.0, help="of virtual time, for each run (more than 1)")
    parser.add_argument("--window", type=int, nargs="*", default=[], help="further windows to try")
    parser.add_argument("--share", type=float, nargs="*", default=[], help="further shares to try")
    parser.add_argument("--targets", type=int, nargs="*", default=[], help="numbers of instructions of whole runs")
    parser.add_argument("--small", action="store_true", help="runs of few instructions")
    arguments = parser.parse_args()
    if arguments.targets:
        _whole(arguments.targets)
        return
    if arguments.small:
        _small(arguments.window)
        return
    runs: list[tuple[str, dict[str, Any]]] = [("old", OLD), ("new", {})]
    runs += [(f"window {w}", {"window": w}) for w in arguments.window]
    runs += [(f"share {s}", {"window_share": s}) for s in arguments.share]
    seconds = 60 * arguments.minutes
    print("| window | runaways | busy in minute 1 | busy after it | least | tokens/s | accepted | proposals |", end="")
    print(" pool older than a quarter | driver CPU |")
    print("|---" * 10 + "|")
    for name, options in runs:
        for runaways in (0.02, 0.05):
            measured = simulate(options, SimulatedEngine(runaways), seconds)
            print(f"| {' | '.join(_row(name, runaways, seconds, measured))} |", flush=True)


if __name__ == "__main__":
    main()
