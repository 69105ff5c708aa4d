"""Evaluation of two models on 1,000 prompts: how often engines start, and how full each is kept.

    python benchmarks/evaluate.py [--model demo] [--prompts 1000] [--max-tokens 64]

The second model is a copy of the first: another model to the evaluation, with the same speed. Each arm's tokens/s are
compared with those of the same engine when it gets the same requests at once and nothing else is done (`engine alone`;
its prefix cache is emptied first). `full` is the share of the time in which the engine had as many requests as it runs
at once, or all that were left.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from selfinstruct.config.load import load_config
from selfinstruct.engines.base import Request
from selfinstruct.engines.models import resolve_model
from selfinstruct.engines.vllm import VLLMEngine
from selfinstruct.formats import jsonl
from selfinstruct.hardware import processor
from selfinstruct.packaged import packaged_folder
from selfinstruct.records import Completion
from selfinstruct.run.directory import RunDirectory
from tuning.evaluation.answers import Arm
from tuning.evaluation.evaluation import evaluate


class Watched:
    """A vLLM engine that records when requests begin and end, and does all of them again at the end for comparison."""

    def __init__(self, engine: VLLMEngine, rows: list[tuple[str, float, float, float, float]]) -> None:
        self.__dict__["_engine"], self.__dict__["_rows"] = engine, rows
        self.__dict__["_requests"] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._engine, name, value)

    async def generate(self, request: Request) -> Completion:
        """Return the engine's answer, and record its times."""
        began = time.monotonic()
        completion = await self._engine.generate(request)
        arm = request.key.partition("/")[0]
        self._requests.setdefault(arm, []).append((request, began, time.monotonic(), completion.completion_tokens))
        return completion

    async def close(self) -> None:
        """Do each arm's requests again, all at once, then close the engine."""
        for arm, done in self._requests.items():
            began, ended = min(row[1] for row in done), max(row[2] for row in done)
            rate = sum(row[3] for row in done) / (ended - began)
            await self._engine._llm.reset_prefix_cache()
            again = time.monotonic()
            answers = await asyncio.gather(*(self._engine.generate(row[0]) for row in done))
            alone = sum(answer.completion_tokens for answer in answers) / (time.monotonic() - again)
            self._rows.append((arm, ended - began, rate, alone, self._full(done, began, ended)))
        await self._engine.close()

    def _full(self, done: list[tuple[Request, float, float, int]], began: float, ended: float) -> float:
        at_once = self._engine._llm.vllm_config.scheduler_config.max_num_seqs
        changes = sorted([(row[1], 1) for row in done] + [(row[2], -1) for row in done])
        in_flight, waiting, full, last = 0, len(done), 0.0, began
        for when, change in changes:
            if in_flight >= min(at_once, waiting):
                full += when - last
            last = when
            in_flight += change
            waiting -= change < 0
        return full / (ended - began)


def questions(path: Path, count: int) -> None:
    """Write `count` evaluation tasks: the first instances of the packaged seed tasks, repeated with a number."""
    seeds = [row for _, row in jsonl.read(packaged_folder() / "seed_tasks.jsonl")]
    rows = []
    for k in range(count):
        task = seeds[k % len(seeds)]
        text = f"{task['instruction']} (Number {k}.)"
        rows.append(task | {"id": f"t{k}", "instruction": text, "instances": task["instances"][:1]})
    jsonl.write(path, rows)


def main() -> None:
    """Measure, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo", help="a local path, or demo")
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--max-model-len", type=int, default=1024)
    options = parser.parse_args()
    starts: list[str] = []
    rows: list[tuple[str, float, float, float, float]] = []

    async def start(arm: Arm, arguments: dict[str, Any]) -> Any:
        starts.append(arm.name)
        return Watched(await VLLMEngine.start(arm.model, arguments=arguments), rows)

    with tempfile.TemporaryDirectory(prefix="selfinstruct-") as name:
        run = RunDirectory(Path(name) / "run")
        shutil.copytree(resolve_model(options.model), run.model.path)
        questions(run.path / "tasks.jsonl", options.prompts)
        config = load_config(
            None,
            {
                "model": options.model,
                "engine": {"max_model_len": options.max_model_len},
                "evaluate.tasks": [str(run.path / "tasks.jsonl")],
                "evaluate.max_tokens": options.max_tokens,
            },
        )
        began = time.monotonic()
        scores = evaluate(config, run, start=start)
        seconds = time.monotonic() - began
    print(f"{processor()}, {os.cpu_count()} cores, vLLM on {json.dumps(_device())}\n")
    print(f"{options.prompts} prompts, two models, three arms: {len(starts)} engine starts, {seconds:.0f} s in all")
    print(f"questions scored: {[about.sets['tasks'].n for about in scores.arms.values()]}\n")
    print("| arm | time | tokens/s | engine alone, tokens/s | ratio | full |\n| --- | --- | --- | --- | --- | --- |")
    for arm, took, rate, alone, full in rows:
        print(f"| {arm} | {took:.1f} s | {rate:,.0f} | {alone:,.0f} | {rate / alone:.2f} | {full:.0%} |")


def _device() -> str:
    import torch

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return f"{name}, torch {version('torch')}, transformers {version('transformers')}"


if __name__ == "__main__":
    main()
