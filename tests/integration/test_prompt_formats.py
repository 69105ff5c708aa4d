"""Each prompt format: what is trained on is what evaluation asks, of the tuned model and of its base."""

from __future__ import annotations

from pathlib import Path

import pytest

from selfinstruct.engines.startup import LastWords
from selfinstruct.engines.vllm import VLLMEngine
from tests import tiny_model
from tuning import sft
from tuning.evaluation import answers
from tuning.training import data, prompt_formats

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("one_thread")]
OWN = (
    "{%- for m in messages -%}{{- '[' + m['role'] + '] ' + m['content'] + eos_token -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '[assistant] ' -}}{%- endif -%}"
)
PROMPTS = {
    "model": "[user] apple 0</s>[assistant] ",
    "default": "<s><|user|>\napple 0\n<|assistant|>\n",
    "alpaca": "<s>Below is an instruction that describes a task. Write a response that appropriately completes the "
    "request.\n\n### Instruction:\napple 0\n\n### Response:\n",
    "plain": "<s>apple 0\n\n",
}


@pytest.mark.parametrize("prompt_format", PROMPTS)
def test_evaluation_asks_in_the_form_that_was_trained_on(prompt_format, tmp_path: Path):
    from transformers import AutoTokenizer

    base = tiny_model.save(tmp_path / "base")
    if prompt_format == "model":
        tokenizer = AutoTokenizer.from_pretrained(base)
        tokenizer.chat_template = OWN
        tokenizer.save_pretrained(base)
    dataset = tiny_model.dataset(tmp_path / "data", num_rows=4)
    arguments = ["--model_name_or_path", base, "--dataset_dir", dataset, "--output_dir", tmp_path / "out"]
    quick = ["--prompt_format", prompt_format, "--max_steps", "1", "--eval_strategy", "no"]
    assert sft.main([*map(str, arguments), *quick]) == 0

    prepared = AutoTokenizer.from_pretrained(base)
    end = prompt_formats.prepare(prepared, prompt_format).end_token
    row = data.load_splits(dataset)["train"][0]
    (trained,) = data.tokenize([row], prepared)
    prompt = trained.input_ids[: trained.labels.count(data.IGNORE_INDEX)]
    assert prepared.decode(prompt) == PROMPTS[prompt_format]
    for folder in (tmp_path / "out", base):
        tokenizer, none = AutoTokenizer.from_pretrained(folder), {"release": lambda: None, "last_words": LastWords()}
        engine = VLLMEngine(None, tokenizer, 512, {}, **none)  # renders without a model
        assert answers.set_template(engine, prompt_format, None) == prepared.convert_tokens_to_ids(end) == 1
        assert engine.encode(list(row.prompt)) == prompt
