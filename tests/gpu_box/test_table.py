"""What the program decides about each family, from its published files alone: one row of a table each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.checks.model_fit import read_tokenizer
from selfinstruct.checks.preflight import check
from selfinstruct.engines.model_facts import read_config
from selfinstruct.engines.tokenized_prompts import TokenizedPrompts
from selfinstruct.errors import ConfigError
from selfinstruct.generation.generate import style_of
from selfinstruct.hardware import Gpu, Hardware
from tests import tiny_model
from tests.gpu_box.families import FAMILIES
from tests.gpu_box.model_folder import full
from tuning.evaluation.answers import set_template
from tuning.training import data, prompt_formats, tuning_method


@dataclass(frozen=True)
class Turns:
    """How a family is asked and tuned.

    Attributes:
        style: of the prompts of generation.
        stops: tokens that end an answer there.
        template: of the tuning: the model's own, or a packaged one.
        end: token that ends a trained answer.
        opening: text that a chat template puts before an answer.
    """

    style: str
    stops: str
    template: str
    end: str
    opening: str


CHATML = "<|im_start|>assistant\n"
TURNS = {
    "qwen3-base": Turns("completion", "<|endoftext|> <|im_end|>", "default", "<|endoftext|>", "<|assistant|>\n"),
    "qwen3": Turns("chat", "<|endoftext|> <|im_end|>", "model", "<|im_end|>", CHATML + "<think>\n\n</think>\n\n"),
    "qwen3-thinking": Turns(
        "chat", "<|endoftext|> <|im_end|>", "model", "<|im_end|>", CHATML + "<think>\n\n</think>\n\n"
    ),
    "qwen3-moe": Turns("chat", "<|endoftext|> <|im_end|>", "model", "<|im_end|>", CHATML + "<think>\n\n</think>\n\n"),
    "llama3-base": Turns("completion", "<|end_of_text|>", "default", "<|end_of_text|>", "<|assistant|>\n"),
    "llama3-instruct": Turns(
        "chat",
        "<|end_of_text|> <|eot_id|>",
        "model",
        "<|eot_id|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    "gemma3": Turns("chat", "<eos> <end_of_turn>", "model", "<end_of_turn>", "<start_of_turn>model\n"),
    "gemma3-1b": Turns("chat", "<eos> <end_of_turn>", "model", "<end_of_turn>", "<start_of_turn>model\n"),
    "mistral-base": Turns("completion", "</s>", "default", "</s>", "<|assistant|>\n"),
    "mistral": Turns("chat", "</s>", "model", "</s>", "[/INST]"),
    "gpt-oss": Turns(
        "chat",
        "<|endoftext|> <|return|> <|call|>",
        "model",
        "<|return|>",
        "<|start|>assistant<|channel|>final<|message|>",
    ),
    "smollm2": Turns("chat", "<|im_end|>", "model", "<|im_end|>", CHATML),
}
QUESTION = [{"role": "user", "content": "Name a river."}]


def engine_of(name: str, folder: Path) -> TokenizedPrompts:
    model = str(full(FAMILIES[name], folder / name))
    engine = read_tokenizer(model, model, None, {"max_model_len": 8192})
    assert engine is not None
    return engine


@pytest.mark.parametrize("name", TURNS)
def test_how_a_family_is_asked(name: str, tmp_path: Path) -> None:
    row, engine = TURNS[name], engine_of(name, tmp_path)
    assert style_of("auto", name, engine) == row.style
    assert engine.tokenizer.convert_ids_to_tokens(sorted(engine.stop_token_ids)) == row.stops.split()
    set_template(engine, "auto", None)  # type: ignore[arg-type] # as evaluation does before it asks base and tuned model
    assert engine.render(QUESTION).endswith(row.opening)
    assert engine.tokenizer.convert_tokens_to_ids(row.end) in engine.stop_token_ids


@pytest.mark.parametrize("name", TURNS)
def test_how_a_family_is_tuned_and_that_the_end_is_trained(name: str, tmp_path: Path) -> None:
    row, engine = TURNS[name], engine_of(name, tmp_path)
    tokenizer = engine.tokenizer
    template = prompt_formats.prepare(tokenizer, "auto", ends=engine.end_token_ids)
    assert (template.source, template.end_token) == (row.template, row.end)
    example = data.load_splits(tiny_model.dataset(tmp_path / "data", num_rows=1))["train"][0]
    (trained,) = data.tokenize([example], tokenizer)
    answer = [label for label in trained.labels if label != data.IGNORE_INDEX]
    end = tokenizer.convert_tokens_to_ids(row.end)
    assert answer.count(end) == 1
    assert tokenizer.decode(answer[: answer.index(end)]).endswith(example.completion[0]["content"])


@pytest.mark.parametrize(
    ("name", "hardware", "context"),
    [
        ("qwen3-base", Hardware((Gpu("NVIDIA L4", 23034 << 20, 22534 << 20),), 0, 0), 8192),
        ("qwen3-base", Hardware((Gpu("NVIDIA H100", 81559 << 20, 81059 << 20),), 0, 0), 20480),
        ("llama3-70b-instruct", Hardware((Gpu("NVIDIA H100", 81559 << 20, 81059 << 20),) * 8, 0, 0), 8192),
    ],
)
def test_preflight_fits_prompts_into_the_context_that_the_engine_gets(
    name: str, hardware: Hardware, context: int, tmp_path: Path, make_config: Any
) -> None:
    config = make_config(model=str(full(FAMILIES[name], tmp_path / "model", weights=True)))
    findings = check(config, tuned=False, hardware=hardware)
    assert findings.problems == [] and findings.engine is not None
    assert findings.engine.context_length == context


GPUS = {"24": (23034, 1), "80": (81559, 1), "141": (143771, 1), "8 x 80": (81559, 8)}
"""MiB of each as nvidia-smi shows them, and how many, by what they are sold as."""
METHODS = {
    # on GPUs of 24, 80, 141, 8 x 80 GB, with bitsandbytes
    "qwen3-base": ["lora", "lora", "lora", "full, shared"],
    "qwen3": ["lora", "lora", "lora", "full, shared"],
    "qwen3-thinking": ["lora", "lora", "full", "full, shared"],
    "llama3-base": ["lora", "lora", "lora", "full, shared"],
    "llama3-instruct": ["lora", "lora", "lora", "full, shared"],
    "llama3-70b-instruct": ["refused", "qlora", "qlora", "lora, shared"],
    "gemma3": ["qlora", "lora", "lora", "full, shared"],
    "gemma3-1b": ["full", "full", "full", "full"],
    "mistral-base": ["lora", "lora", "lora", "full, shared"],
    "mistral": ["lora", "lora", "lora", "full, shared"],
    "gpt-oss": ["refused", "lora", "lora", "lora"],
    "smollm2": ["lora", "full", "full", "full"],
}


@pytest.mark.parametrize("name", METHODS)
def test_how_a_family_is_tuned_on_gpus_of_several_sizes(name: str, tmp_path: Path) -> None:
    sizes = tuning_method.sizes_of(read_config(str(full(FAMILIES[name], tmp_path / "model"))), {"use_peft": True})

    def chosen(mebibytes: int, processes: int) -> str:
        device = tuning_method.Device(True, True, memory=mebibytes << 20, processes=processes, bitsandbytes=True)
        try:
            choice = tuning_method.choose(sizes, {}, device)
        except ConfigError as error:
            assert "the training does not fit" in str(error)
            return "refused"
        assert choice.needed is not None and choice.needed.total <= device.memory
        assert f"{mebibytes / 1024:.1f}" in choice.reason
        return choice.name + ", shared" * choice.shared

    assert [chosen(*gpus) for gpus in GPUS.values()] == METHODS[name]
