"""The fixtures themselves: that they have the published shapes, and can be loaded."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from tests.gpu_box.families import FAMILIES
from tests.gpu_box.model_folder import full, tiny

QUESTION = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a river."}]
ANSWER = [{"role": "assistant", "content": "The Nile."}]
CHATML = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nName a river.<|im_end|>\n<|im_start|>assistant\n"
PROMPTS = {
    "qwen3": CHATML,
    "llama3-instruct": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nName a river.<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    "gemma3": "<bos><start_of_turn>user\nBe brief.\n\nName a river.<end_of_turn>\n<start_of_turn>model\n",
    "mistral": "<s>[INST] Be brief.\n\nName a river.[/INST]",
    "smollm2": CHATML,
}
ANSWERS = {
    "qwen3": "<think>\n\n</think>\n\nThe Nile.<|im_end|>\n",
    "llama3-instruct": "The Nile.<|eot_id|>",
    "gemma3": "The Nile.<end_of_turn>\n",
    "mistral": " The Nile.</s>",
    "smollm2": "The Nile.<|im_end|>\n",
}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_published_shape_has_the_published_number_of_parameters_and_ids(name: str, tmp_path: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    family = FAMILIES[name]
    folder = full(family, tmp_path / "model", weights=True)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    assert model.num_parameters() == family.parameters
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert {token: tokenizer.convert_tokens_to_ids(token) for token in family.special} == family.special
    assert tokenizer.eos_token == family.eos
    assert tokenizer("a <b>").input_ids[0] == tokenizer.bos_token_id if family.adds_bos else True
    assert tokenizer.decode(tokenizer("Grüße <b>", add_special_tokens=False).input_ids) == "Grüße <b>"
    weights = (folder / "model.safetensors").stat()
    assert 0 <= weights.st_size - family.weight_bytes < 200
    assert weights.st_blocks * 512 < 100_000


@pytest.mark.parametrize("name", PROMPTS)
def test_a_template_follows_the_published_rules(name: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(full(FAMILIES[name], tmp_path / "model"))
    prompt = tokenizer.apply_chat_template(QUESTION, tokenize=False, add_generation_prompt=True)
    assert prompt == PROMPTS[name]
    assert tokenizer.apply_chat_template(QUESTION + ANSWER, tokenize=False) == PROMPTS[name] + ANSWERS[name]


def test_qwen3_thinks_unless_it_is_told_not_to_and_its_thinking_variant_always_does(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    def prompt(name: str, thinks: bool) -> str:
        tokenizer = AutoTokenizer.from_pretrained(full(FAMILIES[name], tmp_path / name))
        options = {"tokenize": False, "add_generation_prompt": True, "enable_thinking": thinks}
        return tokenizer.apply_chat_template(QUESTION, **options).rpartition("<|im_start|>")[2]

    assert prompt("qwen3", True) == "assistant\n"
    assert prompt("qwen3", False) == prompt("qwen3-base", False) == "assistant\n<think>\n\n</think>\n\n"
    assert prompt("qwen3-thinking", True) == prompt("qwen3-thinking", False) == "assistant\n<think>\n"


def test_gpt_oss_ends_a_prompt_before_the_channel_and_the_last_answer_with_return(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(full(FAMILIES["gpt-oss"], tmp_path / "model"))
    prompt = tokenizer.apply_chat_template(QUESTION, tokenize=False, add_generation_prompt=True)
    assert prompt.endswith("<|start|>user<|message|>Name a river.<|end|><|start|>assistant")
    assert f"Current date: {datetime.datetime.now():%Y-%m-%d}" in prompt  # noqa: DTZ005 - the template's clock is local
    whole = tokenizer.apply_chat_template(QUESTION + ANSWER, tokenize=False)
    assert whole.endswith("<|start|>assistant<|channel|>final<|message|>The Nile.<|return|>")
    longer = tokenizer.apply_chat_template(QUESTION + ANSWER + QUESTION[1:], tokenize=False)
    assert "The Nile.<|end|>" in longer


@pytest.mark.parametrize("name", ["llama3-base", "mistral-base"])
def test_these_base_models_ship_no_template(name: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    assert AutoTokenizer.from_pretrained(full(FAMILIES[name], tmp_path / "model")).chat_template is None


@pytest.mark.parametrize("name", [name for name in FAMILIES if not name.startswith("llama3-70b")])
def test_a_tiny_model_has_the_architecture_and_its_own_ids(name: str, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    family = FAMILIES[name]
    folder = tiny(family, tmp_path / "model")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert model.config.architectures == family.config["architectures"]
    assert model.num_parameters() < 400_000
    assert max(tokenizer.get_vocab().values()) < model.get_input_embeddings().weight.shape[0]
    by_id = {number: token for token, number in family.special.items()}
    ends = family.generation["eos_token_id"]
    written = GenerationConfig.from_pretrained(folder).eos_token_id
    of_list = lambda value: value if isinstance(value, list) else [value]  # noqa: E731
    assert tokenizer.convert_ids_to_tokens(of_list(written)) == [by_id[i] for i in of_list(ends)]
    with torch.no_grad():
        logits = model(**tokenizer("Name a river.", return_tensors="pt")).logits
    assert logits.isfinite().all()
