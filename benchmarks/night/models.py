"""Models in the shape of real ones, without their weights: what vLLM needs to load them with random numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from selfinstruct.packaged import model_path

_COMMON: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000,
    "torch_dtype": "bfloat16",
    "eos_token_id": 1,
    "pad_token_id": 2,
}
# As Qwen publishes them; `tiny` is the same architecture.
SHAPES: dict[str, dict[str, Any]] = {
    "8b": {
        "head_dim": 128,
        "hidden_size": 4096,
        "intermediate_size": 12288,
        "max_position_embeddings": 32768,
        "num_attention_heads": 32,
        "num_hidden_layers": 36,
        "num_key_value_heads": 8,
        "tie_word_embeddings": False,
        "vocab_size": 151936,
    },
    "1.7b": {
        "head_dim": 128,
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "max_position_embeddings": 32768,
        "num_attention_heads": 16,
        "num_hidden_layers": 28,
        "num_key_value_heads": 8,
        "tie_word_embeddings": True,
        "vocab_size": 151936,
    },
    "tiny": {
        "head_dim": 32,
        "hidden_size": 64,
        "intermediate_size": 128,
        "max_position_embeddings": 8192,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "num_key_value_heads": 1,
        "tie_word_embeddings": True,
        "vocab_size": 4608,
    },
}


def write(shape: str, folder: Path) -> Path:
    """Write a model's config and tokenizer, without weights; return the folder.

    The tokenizer is the demo model's, with invented words up to the size of the vocabulary, so that each number that
    random weights bring forth is decoded as in a real model.
    """
    folder.mkdir(parents=True)
    config = _COMMON | SHAPES[shape]
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    demo = model_path()
    about = json.loads((demo / "tokenizer_config.json").read_text())
    about["model_max_length"] = config["max_position_embeddings"]
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    tokenizer = json.loads((demo / "tokenizer.json").read_text())
    words = tokenizer["model"]["vocab"]
    words |= {f"Ġword{number}": number for number in range(len(words), config["vocab_size"])}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder
