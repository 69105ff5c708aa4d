"""Facts of a model before it is loaded, for the published shapes of model families."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.engines.model_facts import facts_of_config, model_facts
from selfinstruct.errors import ConfigError
from tests import tiny_model

LLAMA_70B = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "rope_theta": 500000.0,
    "rope_scaling": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "torch_dtype": "bfloat16",
}
GPT_OSS_20B = {
    "model_type": "gpt_oss",
    "architectures": ["GptOssForCausalLM"],
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "num_hidden_layers": 24,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "num_local_experts": 32,
    "num_experts_per_tok": 4,
    "vocab_size": 201088,
    "max_position_embeddings": 131072,
    "quantization_config": {"quant_method": "mxfp4"},
}
MIXTRAL_8X7B = {
    "model_type": "mixtral",
    "architectures": ["MixtralForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_local_experts": 8,
    "vocab_size": 32000,
    "max_position_embeddings": 32768,
    "torch_dtype": "bfloat16",
}


def folder_of(tmp_path: Path, config: dict[str, Any]) -> str:
    (tmp_path / "config.json").write_text(json.dumps(config))
    return str(tmp_path)


def test_a_configuration_without_weights_says_how_large_the_model_is(tmp_path: Path) -> None:
    facts = model_facts(folder_of(tmp_path, LLAMA_70B))
    assert facts.parameters == 70_553_706_496 and facts.weight_bytes == 2 * facts.parameters
    assert (facts.layers, facts.hidden, facts.heads, facts.kv_heads) == (80, 8192, 64, 8)
    assert facts.kv_bytes_per_token == 2 * 2 * 80 * 8 * 128
    assert facts.context_length == 131_072 and facts.dtype == "bfloat16" and not facts.moe and not facts.vision


def test_a_quantized_mixture_of_experts(tmp_path: Path) -> None:
    facts = model_facts(folder_of(tmp_path, GPT_OSS_20B))
    assert facts.moe and facts.experts == 32 and facts.quantization == "mxfp4"
    assert 20e9 < facts.parameters < 22e9 and 11e9 < facts.weight_bytes < 15e9


def test_a_mixture_of_experts_counts_all_its_experts(tmp_path: Path) -> None:
    facts = model_facts(folder_of(tmp_path, MIXTRAL_8X7B))
    assert facts.moe and 46e9 < facts.parameters < 47e9


def test_weights_on_disk_are_counted_from_their_headers(tmp_path: Path) -> None:
    facts = model_facts(str(tiny_model.save(tmp_path / "model")))
    assert facts.dtype == "float32" and facts.weight_bytes == pytest.approx(4 * facts.parameters, rel=0.05)
    assert facts.loaded_bytes() == 2 * facts.parameters and facts.loaded_bytes("float32") == 4 * facts.parameters


def test_an_architecture_that_transformers_does_not_know_still_has_facts(tmp_path: Path) -> None:
    config = {"model_type": "of-tomorrow", "hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2}
    facts = model_facts(folder_of(tmp_path, config))
    assert (facts.parameters, facts.heads, facts.architecture) == (0, 4, "unknown")


def test_vision_weights_are_seen() -> None:
    from transformers import Gemma3Config

    facts = facts_of_config(Gemma3Config(), name="gemma")
    assert facts.vision and facts.kv_bytes_per_token > 0


@pytest.mark.parametrize(
    "header",
    [
        "[]",
        '{"w": 3}',
        '{"w": {"shape": [2]}}',
        '{"w": {"dtype": "BF16"}}',
        '{"w": {"dtype": "BF16", "shape": ["2"]}}',
        '{"w": {"dtype": "BF16", "shape": [-2]}}',
        "[" * 200_000,
    ],
    ids=["list", "number", "no type", "no shape", "text", "negative", "nested"],
)
def test_one_broken_shard_leaves_the_size_to_the_configuration(header: str, tmp_path: Path) -> None:
    good = '{"w": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}}'
    for name, text in (("model-1.safetensors", good), ("model-2.safetensors", header)):
        (tmp_path / name).write_bytes(len(text).to_bytes(8, "little") + text.encode())
    assert model_facts(folder_of(tmp_path, LLAMA_70B)).parameters == 70_553_706_496


@pytest.mark.parametrize(
    "hostile",
    [
        {"num_attention_heads": "4"},
        {"num_attention_heads": 0},
        {"hidden_size": 64.5},
        {"rope_scaling": "x"},
        {"layer_types": "full"},
        {"quantization_config": "awq"},
        {"quantization_config": ["awq"]},
    ],
)
def test_a_configuration_with_values_of_a_wrong_type_is_one_error_or_read(
    hostile: dict[str, Any], tmp_path: Path
) -> None:
    values = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "num_attention_heads": 4}
    (tmp_path / "config.json").write_text(json.dumps(values | hostile))
    try:
        assert model_facts(str(tmp_path)).architecture == "LlamaForCausalLM"
    except ConfigError as error:
        assert "config.json cannot be read" in str(error) and "\n" not in str(error)


def test_a_configuration_that_is_nested_too_deep_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"a": ' + "[" * 20_000 + "]" * 20_000 + "}")
    with pytest.raises(ConfigError, match="cannot be read"):
        model_facts(str(tmp_path))
