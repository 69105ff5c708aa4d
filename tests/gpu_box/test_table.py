"""What the program decides about each family, from its published files alone: one row of a table each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from selfinstruct.checks.model_fit import read_tokenizer
from selfinstruct.engines.tokenized_prompts import TokenizedPrompts
from selfinstruct.generation.generate import style_of
from tests import tiny_model
from tests.gpu_box.families import FAMILIES
from tests.gpu_box.model_folder import full
from tuning.evaluation.answers import set_template
from tuning.training import data, prompt_formats


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
