"""A tiny model of each family, tuned with the real TRL, ends its answers by itself in the real vLLM."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from selfinstruct.config.section import Sampling
from selfinstruct.engines.base import Request
from selfinstruct.records import Completion
from tests import tiny_model
from tests.gpu_box.families import FAMILIES
from tests.gpu_box.model_folder import tiny
from tuning import sft

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("one_thread")]
METHODS = {
    "full": ["--use_peft", "false", "--num_train_epochs", "100", "--learning_rate", "5e-3"],
    "lora": ["--use_peft", "--lora_r", "16", "--num_train_epochs", "100", "--learning_rate", "1e-2"],
}
SHORT = [("qwen3-base", "lora")]
LEFT_OUT = {"llama3-70b-instruct": "as llama3-instruct", "gemma3": "vLLM needs torchvision for what sees: gemma3-1b"}
LONG = [
    (name, method) for name in FAMILIES for method in METHODS if name not in LEFT_OUT and (name, method) not in SHORT
]


async def answers(folder: Path, questions: list[str]) -> list[Completion]:
    """Ask the model as `vllm serve` would: with what its folder says, and nothing else."""
    from selfinstruct.engines.vllm import VLLMEngine

    engine = await VLLMEngine.start(str(folder), arguments={"max_model_len": 1024})
    sampling = Sampling(temperature=0.0, max_tokens=24)
    try:
        asked = [Request(f"q/{q}", [{"role": "user", "content": q}], sampling) for q in questions]
        return list(await asyncio.gather(*map(engine.generate, asked)))
    finally:
        await engine.close()


@pytest.mark.parametrize(("name", "method"), [*SHORT, *(pytest.param(*case, marks=pytest.mark.long) for case in LONG)])
def test_a_tuned_model_stops_by_itself(name: str, method: str, tmp_path: Path) -> None:
    base = tiny(FAMILIES[name], tmp_path / "base")
    rows = [tiny_model.row(f"p{n:06d}-00/0", f"{fruit} {n}", "blue") for n, fruit in enumerate(tiny_model.FRUITS[:8])]
    dataset = tmp_path / "data"
    tiny_model.write(dataset, train=rows, validation_seen=[], validation_unseen=[])
    given = ["--model_name_or_path", base, "--dataset_dir", dataset, "--output_dir", tmp_path / "tuned"]
    assert sft.main([*map(str, given), "--eval_strategy", "no", *METHODS[method]]) == 0
    given_answers = asyncio.run(answers(tmp_path / "tuned", [row["instruction"] for row in rows]))
    # Mistral's template writes a space before an answer, so its models do.
    assert {(answer.text.strip(), answer.finish_reason) for answer in given_answers} == {("blue", "stop")}
