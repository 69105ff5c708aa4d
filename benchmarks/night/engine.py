"""An 8-billion-parameter model with dummy weights: how fast vLLM is through our engine, and through our pipeline."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import statistics
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks import window
from benchmarks.night import models
from benchmarks.night.figures import report
from selfinstruct import novelty
from selfinstruct.config.schema import Config
from selfinstruct.config.section import Sampling
from selfinstruct.engines.base import Request, most_in_flight
from selfinstruct.engines.vllm import VLLMEngine, prepare_environment
from selfinstruct.formats import seed_tasks
from selfinstruct.generation.budget import BudgetTracker
from selfinstruct.generation.generate import borrowed_seeds
from selfinstruct.generation.method import Method
from selfinstruct.generation.pipeline import Pipeline
from selfinstruct.generation.prompts import PROMPTS_VERSION
from selfinstruct.generation.steps import Steps
from selfinstruct.records import Completion
from selfinstruct.run.journal import JournalWriter
from selfinstruct.run.lines import VERSION, Header, Line
from selfinstruct.run.state import RunState

_PREFIX_TOKENS = 1700
_RUNAWAYS = 0.05
"""Share of answers that go on until they are cut off."""
_PUBLISHED = (128, 128, 27_911)
"""Tokens of prompt and of answer, and tokens/s written: TensorRT-LLM 1.0, Llama 3.1 8B in FP8 on one H200 (NVIDIA's
performance overview). Here the weights are in bfloat16, of twice the size."""


class EndlessEngine(VLLMEngine):
    """Our engine, whose answers end at their limit alone: random weights give an end token at random."""

    def _sampling(self, *arguments: Any, **named: Any) -> dict[str, Any]:
        return super()._sampling(*arguments, **named) | {"ignore_eos": True}


class DrawnAnswers:
    """An engine that computes for as long as an answer of `window.py` is long, and then gives that answer."""

    def __init__(self, engine: VLLMEngine) -> None:
        self._engine = engine
        self.tokens = 0
        self.asked: list[Request] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def written(self) -> int:
        """Return the number of tokens written so far, those of unfinished answers included."""
        return self.tokens + self._engine.progress()

    async def generate(self, request: Request) -> Completion:
        """Answer with drawn length and text."""
        draw = random.Random(f"{request.key} {request.prompt}")
        text, length, reason = window.answer(request, draw, _RUNAWAYS)
        sampling = request.sampling.model_copy(update={"max_tokens": max(1, length)})
        self.asked.append(dataclasses.replace(request, sampling=sampling))
        done = await self._engine.generate(self.asked[-1])
        self.tokens += done.completion_tokens
        return Completion(text, reason, done.prompt_tokens, done.completion_tokens)


def offline(folder: Path, tiny: bool) -> None:
    """Measure the engine as `selfinstruct` starts it, run the pipeline for a while, then ask the same all at once."""

    async def measure(engine: VLLMEngine) -> None:
        requests = 24 if tiny else 1024
        await _throughput(engine, "", requests, tiny, Config().proposal)
        await _throughput(engine, "online_", requests // 4, tiny, Config().proposal, at_once=online["max_num_seqs"])
        seconds = 15.0 if tiny else 10.0
        asked, speed = await _pipeline(engine, folder, "now", {}, seconds)
        alone = await _at_once(engine, asked, seconds)
        report(now_at_once_tokens_per_s=alone, now_efficiency=speed / alone)
        await _as_published(engine, tiny, seconds)
        await _throughput(engine, "no_penalties_", requests // 2, tiny, Sampling(temperature=0.7, top_p=0.5))

    model = models.write("tiny" if tiny else "8b", folder / "model")
    online = _limits_online(model, tiny)
    report(**{f"online_{name}": value for name, value in online.items()})
    novelty.warm_up()  # As `generate` does; else its compilation would be what is measured.
    asyncio.run(_with_engine(model, tiny, measure))


def _limits_online(model: Path, tiny: bool) -> dict[str, int]:
    """Return what vLLM would compute at once if it did not know that it works offline (ENGINE_CONTEXT)."""
    prepare_environment()
    from vllm import AsyncEngineArgs
    from vllm.usage.usage_lib import UsageContext

    arguments = AsyncEngineArgs(model=str(model), **_arguments(tiny))
    limits = arguments.create_engine_config(usage_context=UsageContext.ENGINE_CONTEXT).scheduler_config
    return {name: getattr(limits, name) for name in ("max_num_seqs", "max_num_batched_tokens")}


def _arguments(tiny: bool) -> dict[str, Any]:
    return {"load_format": "dummy", "max_model_len": 8192} | ({"max_num_seqs": 16} if tiny else {})


async def _with_engine(model: Path, tiny: bool, measure: Callable[[VLLMEngine], Coroutine[Any, Any, None]]) -> None:
    began = time.monotonic()
    engine = await EndlessEngine.start(str(model), arguments=_arguments(tiny))
    try:
        report(start_s=time.monotonic() - began, **_capacity(engine))
        await measure(engine)
    finally:
        began = time.monotonic()
        await engine.close()
        report(close_s=time.monotonic() - began)


def _capacity(engine: VLLMEngine) -> dict[str, Any]:
    config = engine._llm.vllm_config
    return {
        "max_num_seqs": config.scheduler_config.max_num_seqs,
        "max_num_batched_tokens": config.scheduler_config.max_num_batched_tokens,
        "kv_cache_tokens": (config.cache_config.num_gpu_blocks or 0) * config.cache_config.block_size,
    }


async def _throughput(
    engine: VLLMEngine, label: str, requests: int, tiny: bool, sampling: Sampling, at_once: int | None = None
) -> None:
    """Answer requests with a common prefix, at most `at_once` of them together (default: all); report tokens/s."""
    sampling = sampling.model_copy(update={"max_tokens": 32 if tiny else 64})
    tasks = [task.instruction for task in seed_tasks.load_seed_tasks(["seed_tasks"])]
    prefix = ""
    while engine.count_tokens(prefix) < _PREFIX_TOKENS:
        prefix += f"Task: {tasks[len(prefix) % len(tasks)]}\n"

    places = asyncio.Semaphore(at_once or requests)

    async def answer(number: int, sampling: Sampling) -> Completion:
        text = f"{prefix}Task {number}: {tasks[number % len(tasks)]}\n"
        async with places:
            return await engine.generate(Request(f"{label}{number}", text, sampling))

    # Kernels that this kind of sampling needs are compiled at their first use, for seconds each.
    await asyncio.gather(*(answer(-k, sampling.model_copy(update={"max_tokens": 4})) for k in range(1, 17)))
    process, began, of_loop = psutil.Process(), time.monotonic(), time.thread_time()
    before = sum(process.cpu_times()[:2])
    done = await asyncio.gather(*(answer(k, sampling) for k in range(requests)))
    seconds = time.monotonic() - began
    report(
        **{
            f"{label}requests": requests,
            f"{label}prompt_tokens": statistics.mean(answer.prompt_tokens for answer in done),
            f"{label}answered_in_s": seconds,
            f"{label}tokens_per_s": sum(answer.completion_tokens for answer in done) / seconds,
            f"{label}driver_cores": (sum(process.cpu_times()[:2]) - before) / seconds,
            f"{label}event_loop_share": (time.thread_time() - of_loop) / seconds,
        }
    )


async def _pipeline(
    engine: VLLMEngine, folder: Path, label: str, options: dict[str, Any], seconds: float
) -> tuple[list[Request], float]:
    """Run the pipeline for some seconds; report what was in flight and how fast it was after its first quarter.

    Return what it asked, and its tokens/s.
    """
    config = Config.model_validate({"num_instructions": 1_000_000, "output_dir": str(folder)} | options)
    tasks = seed_tasks.load_seed_tasks(config.seeds)
    drawn = DrawnAnswers(engine)
    method = Method.of(config)
    steps = Steps(method, tasks, borrowed_seeds(method.frame), drawn, "completion")
    state = RunState()
    with JournalWriter(folder / f"{label}.jsonl", config.fsync_interval) as journal:

        def commit(line: Line) -> None:
            journal.append(line)
            state.apply(line)

        identity = config.identity() | {"prompts_version": PROMPTS_VERSION}
        resolved = {"style": "completion", "context_length": engine.context_length}
        commit(Header(VERSION, identity, resolved, config.num_instructions))
        in_flight = most_in_flight(config.max_in_flight, engine)
        budget = BudgetTracker(config.limits, method, state, time.time)
        budget.engine_started(0.0, in_flight)
        pipeline = Pipeline(
            steps,
            drawn,
            state,
            journal.append,
            budget=budget,
            saturation=config.saturation,
            max_in_flight=in_flight,
        )
        watching = asyncio.create_task(_watch(pipeline, drawn, seconds))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await pipeline.run()
        watched = await watching
    report(
        **{f"{label}_{name}": value for name, value in watched.items()},
        **{f"{label}_proposals": state.proposals, f"{label}_accepted": len(state.pool)},
    )
    return drawn.asked, watched["tokens_per_s"]


async def _at_once(engine: VLLMEngine, requests: Sequence[Request], seconds: float) -> float:
    """Return the tokens/s of requests handed over together, after a quarter of the time, while all places are taken.

    Args:
        engine: whose prefix cache is emptied before.
        requests: more than it answers in a quarter of the time.
        seconds: of which they are watched for three quarters at most.
    """
    await engine._llm.reset_prefix_cache()
    tokens, left, has_places = 0, len(requests), asyncio.Event()

    async def answer(request: Request) -> None:
        nonlocal tokens, left
        try:
            done = await engine.generate(request)
            tokens += done.completion_tokens
        finally:
            left -= 1
            if left < engine.capacity:
                has_places.set()

    answers = [asyncio.create_task(answer(request)) for request in requests]
    await asyncio.sleep(seconds / 4)
    if has_places.is_set():
        raise RuntimeError(f"{len(requests)} requests do not keep {engine.capacity} places full for {seconds / 4:g} s")
    began, before = time.monotonic(), tokens + engine.progress()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(has_places.wait(), 3 * seconds / 4)
    speed = (tokens + engine.progress() - before) / (time.monotonic() - began)
    for task in answers:
        task.cancel()
    await asyncio.gather(*answers, return_exceptions=True)
    return speed


async def _as_published(engine: VLLMEngine, tiny: bool, seconds: float) -> None:
    """Measure with prompts and answers as long as those of a published figure, no prompt like another."""
    prompt_tokens, answer_tokens, published = _PUBLISHED
    tasks = [task.instruction for task in seed_tasks.load_seed_tasks(["seed_tasks"])]
    sampling = Sampling(max_tokens=16 if tiny else answer_tokens)

    def prompt(number: int) -> str:
        draw, text = random.Random(number), ""
        while engine.count_tokens(text) < prompt_tokens:
            text += f"{draw.choice(tasks)} "
        return text

    requests = [Request(f"published{k}", prompt(k), sampling) for k in range(4096)]
    report(
        published_tokens_per_s=published,
        as_published_prompt_tokens=statistics.mean(engine.count_tokens(str(request.prompt)) for request in requests),
        as_published_tokens_per_s=await _at_once(engine, requests, seconds),
    )


async def _watch(pipeline: Pipeline, drawn: DrawnAnswers, seconds: float) -> dict[str, float]:
    """Look at the pipeline while it runs, for some seconds; return what was seen after their first quarter."""
    await asyncio.sleep(seconds / 4)
    process, began, of_loop, tokens = psutil.Process(), time.monotonic(), time.thread_time(), drawn.written()
    before = sum(process.cpu_times()[:2])
    seen: list[int] = []
    while (passed := time.monotonic() - began) < 0.7 * seconds:
        seen.append(pipeline.in_flight)
        await asyncio.sleep(0.1)
    return {
        "in_flight": statistics.mean(seen),
        "in_flight_least": min(seen),
        "tokens_per_s": (drawn.written() - tokens) / passed,
        "driver_cores": (sum(process.cpu_times()[:2]) - before) / passed,
        "event_loop_share": (time.thread_time() - of_loop) / passed,
    }
