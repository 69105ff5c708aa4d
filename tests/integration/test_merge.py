"""What is kept of a LoRA: adapter, merged weights or both; each loads, stops, and gives the same greedy answers."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from selfinstruct.config.section import Sampling
from selfinstruct.engines.base import Request
from tests import tiny_model
from tuning import sft

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("one_thread")]
LEARN = ["--use_peft", "--lora_r", "4", "--num_train_epochs", "25", "--learning_rate", "1e-2", "--eval_strategy", "no"]
MAX_TOKENS = 12


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny_model.save(tmp_path_factory.mktemp("base"), hidden_size=128)  # vLLM on CPU wants heads of 32


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return tiny_model.dataset(tmp_path_factory.mktemp("dataset"))


def tune(model: Path, dataset: Path, output: Path, *options: str) -> int:
    arguments = ["--model_name_or_path", str(model), "--dataset_dir", str(dataset), "--output_dir", str(output)]
    return sft.main([*arguments, *map(str, options)])


@pytest.fixture(scope="module")
def both(model, dataset, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("both")
    assert tune(model, dataset, output, *LEARN) == 0
    return output


@pytest.fixture(scope="module")
def questions(dataset) -> list[str]:
    return [json.loads(line)["instruction"] for line in (dataset / "train.jsonl").read_text().splitlines()]


def transformers_answers(folder: Path, questions: list[str]) -> list[str]:
    """`from_pretrained` takes a model's folder and an adapter's alike."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    answers = []
    for question in questions:
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, return_dict=True, return_tensors="pt"
        )
        with torch.no_grad():
            ids = model.generate(**prompt, max_new_tokens=MAX_TOKENS, do_sample=False)
        answers.append(tokenizer.decode(ids[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))
    return answers


def vllm_answers(folder: Path, questions: list[str]) -> tuple[list[str], set[str]]:
    """Return the answers, and the reason why each ended."""
    from selfinstruct.engines.vllm import VLLMEngine

    async def ask():
        engine = await VLLMEngine.start(str(folder), arguments={"dtype": "float32", "max_model_len": 128})
        try:
            asked = [
                Request(str(k), [{"role": "user", "content": question}], Sampling(max_tokens=MAX_TOKENS))
                for k, question in enumerate(questions)
            ]
            return await asyncio.gather(*(engine.generate(request) for request in asked))
        finally:
            await engine.close()

    completions = asyncio.run(ask())
    return [completion.text for completion in completions], {completion.finish_reason for completion in completions}


def test_merged_and_adapter_agree(model, both, questions):
    merged = transformers_answers(both, questions)
    assert merged == transformers_answers(both / "adapter", questions)
    assert merged != transformers_answers_of_base(model, both, questions)


@pytest.mark.long
@pytest.mark.parametrize("folder", ["", "adapter"])
def test_vllm_answers_as_transformers_does(both, questions, folder):
    """In `make test`, `tests/gpu_box/test_stops.py` asks a merged adapter in vLLM."""
    assert vllm_answers(both / folder, questions) == (transformers_answers(both, questions), {"stop"})


def transformers_answers_of_base(model: Path, tuned: Path, questions: list[str]) -> list[str]:
    """The base model asked in the tuned model's form."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tuned.parent / "base-with-template"
    AutoModelForCausalLM.from_pretrained(model).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tuned).save_pretrained(folder)
    return transformers_answers(folder, questions)


def test_the_adapter_alone_takes_the_place_of_an_earlier_whole_model(model, dataset, both, tmp_path, questions):
    assert tune(model, dataset, tmp_path, "--max_steps", "2") == 0
    assert (tmp_path / "config.json").exists()
    assert tune(model, dataset, tmp_path, *LEARN, "--merge", "adapter") == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "generation_config.json"} <= names
    assert not names & {"config.json", "model.safetensors", "adapter", "training_args.bin"}
    alone, beside = (
        load_file(tmp_path / "adapter_model.safetensors"),
        load_file(both / "adapter/adapter_model.safetensors"),
    )
    assert all(torch.equal(alone[name], beside[name]) for name in beside)
    assert json.loads((tmp_path / "generation_config.json").read_text())["eos_token_id"] == 1
    card = (tmp_path / "README.md").read_text()
    assert "library_name: peft" in card and "--enable-lora --max-lora-rank 8 --lora-modules tuned=." in card


def test_merged_weights_alone(model, dataset, tmp_path):
    assert tune(model, dataset, tmp_path, "--use_peft", "--max_steps", "2", "--merge", "merged") == 0
    assert (tmp_path / "model.safetensors").exists()
    assert not (tmp_path / "adapter").exists()
    assert "LoRA, merged." in (tmp_path / "README.md").read_text()


def test_merge_is_for_adapters(model, dataset, tmp_path, capfd):
    assert tune(model, dataset, tmp_path, "--merge", "adapter") == 2
    assert "--merge adapter: full fine-tuning makes no adapter" in capfd.readouterr().err
