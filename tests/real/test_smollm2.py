"""What a scripted engine cannot show: how a real model takes the prompts, and what tuning on its own rows does to it.

One demo with SmolLM2-135M-Instruct, and one generation by text completion. They are sampled, so the bounds leave room.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.recipes import Figures, figures
from selfinstruct.config.section import Sampling
from selfinstruct.engines.base import Request
from selfinstruct.engines.smollm2 import fetch_smollm2
from selfinstruct.engines.vllm import VLLMEngine
from selfinstruct.records import Completion
from selfinstruct.run.directory import RunDirectory

pytestmark = [pytest.mark.real, pytest.mark.timeout(0)]
QUESTIONS = (
    "What is the capital of France?",
    "Name three colours.",
    "Write one sentence about rain.",
    "Is 7 a prime number? Answer yes or no.",
)


def selfinstruct(*arguments: str | Path) -> None:
    done = subprocess.run([sys.executable, "-m", "selfinstruct", *map(str, arguments)], check=False)
    assert done.returncode == 0, arguments


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """The demo, finished."""
    folder = tmp_path_factory.mktemp("real") / "demo"
    selfinstruct("demo", "--model", "smollm2", "--output-dir", folder)
    return RunDirectory(folder)


@pytest.fixture(scope="module")
def of_demo(demo: RunDirectory) -> Figures:
    return figures(demo)


def answers(model: Path) -> list[Completion]:
    """Short questions, asked as a user would."""

    async def ask() -> list[Completion]:
        engine = await VLLMEngine.start(str(model), arguments={"max_model_len": 1024})
        try:
            sampling = Sampling(max_tokens=128, repetition_penalty=1.1)
            asked = [
                Request(f"question/{k}", [{"role": "user", "content": q}], sampling) for k, q in enumerate(QUESTIONS)
            ]
            return list(await asyncio.gather(*map(engine.generate, asked)))
        finally:
            await engine.close()

    return asyncio.run(ask())


def test_the_fetched_model_answers_and_ends() -> None:
    said = answers(fetch_smollm2())
    assert "Paris" in said[0].text
    assert [answer.finish_reason for answer in said] == ["stop"] * len(QUESTIONS)


def test_the_chain_is_whole(demo: RunDirectory) -> None:
    assert demo.report.exists() and demo.state().complete


def test_seeds_are_not_copied(of_demo: Figures) -> None:
    assert of_demo.copied_seeds is not None and of_demo.copied_seeds < 0.05


def test_rows_say_something_new(of_demo: Figures) -> None:
    assert of_demo.rows >= 40
    assert (of_demo.echoes or 0) + (of_demo.repeated_outputs or 0) < 0.02 + 1 / of_demo.rows, "one of a small sample"


def test_the_separate_answers_give_rows(demo: RunDirectory) -> None:
    state = demo.state()
    assert state.usage["answer"].committed > 0
    assert state.num_instances >= state.usage["answer"].committed / 3


def test_the_tuned_model_ends_its_answers(demo: RunDirectory) -> None:
    said = answers(demo.model.path)
    assert sum(answer.finish_reason == "stop" for answer in said) >= len(QUESTIONS) - 1, [a.text for a in said]


def test_the_recipe_of_base_models_gives_rows(tmp_path: Path) -> None:
    run = tmp_path / "base"
    options = ["--recipe", "base", "--num-instructions", "24", "--window", "8", "--output-dir", run]
    selfinstruct("generate", "--model", fetch_smollm2(), *options)
    of = figures(RunDirectory(run))
    assert of.rows >= 12 and (of.copied_seeds or 0) < 0.05
