"""Families of models in their published shapes: sizes, special tokens with their ids, end tokens, template rules.

The numbers are those of `config.json`, `generation_config.json` and the tokenizer on the Hub. Options that change
neither size nor text are left out. The templates in `templates/` are our own and follow the published rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class Family:
    """One published model.

    Attributes:
        hub: its name on the Hub.
        parameters: as its page on the Hub counts them.
        config: of `config.json`.
        generation: of `generation_config.json`.
        special: special tokens and their ids.
        bos, eos, pad: as the tokenizer names them.
        adds_bos: the tokenizer puts the begin token before every text.
        words: tokens that are added, but not special: a decoder shows them.
        template: file in `templates/` with the rules of its chat template; None: it ships none.
        quantized_bytes: of its safetensors files, where they are quantized.
    """

    hub: str
    parameters: int
    config: Mapping[str, Any]
    generation: Mapping[str, Any]
    special: Mapping[str, int]
    eos: str
    bos: str | None = None
    pad: str | None = None
    adds_bos: bool = False
    words: Mapping[str, int] = field(default_factory=dict)
    template: str | None = None
    quantized_bytes: int | None = None

    @property
    def weight_bytes(self) -> int:
        """Return the size of its safetensors files: 16-bit weights, unless it is published quantized."""
        return self.quantized_bytes or 2 * self.parameters


def _qwen3(**sizes: Any) -> dict[str, Any]:
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "attention_bias": False,
        "bos_token_id": 151643,
        "eos_token_id": 151645,
        "head_dim": 128,
        "hidden_act": "silu",
        "hidden_size": 4096,
        "initializer_range": 0.02,
        "intermediate_size": 12288,
        "max_position_embeddings": 40960,
        "num_attention_heads": 32,
        "num_hidden_layers": 36,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 1000000,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "vocab_size": 151936,
    } | sizes


def _llama3(**sizes: Any) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "bos_token_id": 128000,
        "eos_token_id": 128001,
        "hidden_act": "silu",
        "hidden_size": 4096,
        "initializer_range": 0.02,
        "intermediate_size": 14336,
        "max_position_embeddings": 8192,
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-05,
        "rope_scaling": None,
        "rope_theta": 500000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "vocab_size": 128256,
    } | sizes


_MISTRAL = {
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 14336,
    "max_position_embeddings": 32768,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05,
    "rope_theta": 1000000.0,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": 32768,
}

_GEMMA3 = {
    "architectures": ["Gemma3ForConditionalGeneration"],
    "model_type": "gemma3",
    "boi_token_index": 255999,
    "eoi_token_index": 256000,
    "eos_token_id": [1, 106],
    "image_token_index": 262144,
    "initializer_range": 0.02,
    "mm_tokens_per_image": 256,
    "torch_dtype": "bfloat16",
    "text_config": {
        "model_type": "gemma3_text",
        "head_dim": 256,
        "hidden_activation": "gelu_pytorch_tanh",
        "hidden_size": 3840,
        "intermediate_size": 15360,
        "max_position_embeddings": 131072,
        "num_attention_heads": 16,
        "num_hidden_layers": 48,
        "num_key_value_heads": 8,
        "query_pre_attn_scalar": 256,
        "rms_norm_eps": 1e-06,
        "rope_local_base_freq": 10000.0,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "rope_theta": 1000000.0,
        "sliding_window": 1024,
        "sliding_window_pattern": 6,
        "vocab_size": 262208,
    },
    "vision_config": {
        "model_type": "siglip_vision_model",
        "hidden_size": 1152,
        "image_size": 896,
        "intermediate_size": 4304,
        "num_attention_heads": 16,
        "num_hidden_layers": 27,
        "patch_size": 14,
        "vision_use_head": False,
    },
}

_GEMMA3_1B = {
    "architectures": ["Gemma3ForCausalLM"],
    "model_type": "gemma3_text",
    "bos_token_id": 2,
    "eos_token_id": [1, 106],
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 1152,
    "initializer_range": 0.02,
    "intermediate_size": 6912,
    "max_position_embeddings": 32768,
    "num_attention_heads": 4,
    "num_hidden_layers": 26,
    "num_key_value_heads": 1,
    "pad_token_id": 0,
    "query_pre_attn_scalar": 256,
    "rms_norm_eps": 1e-06,
    "rope_local_base_freq": 10000,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": 512,
    "sliding_window_pattern": 6,
    "torch_dtype": "bfloat16",
    "vocab_size": 262144,
}
_GEMMA3_GENERATION = {
    "bos_token_id": 2,
    "cache_implementation": "hybrid",
    "do_sample": True,
    "eos_token_id": [1, 106],
    "pad_token_id": 0,
    "top_k": 64,
    "top_p": 0.95,
}
_GEMMA3_SPECIAL = {
    "<pad>": 0,
    "<eos>": 1,
    "<bos>": 2,
    "<unk>": 3,
    "<start_of_turn>": 105,
    "<end_of_turn>": 106,
    "<start_of_image>": 255999,
    "<end_of_image>": 256000,
}

_GPT_OSS = {
    "architectures": ["GptOssForCausalLM"],
    "model_type": "gpt_oss",
    "attention_bias": True,
    "eos_token_id": 200002,
    "experts_per_token": 4,
    "head_dim": 64,
    "hidden_act": "silu",
    "hidden_size": 2880,
    "initial_context_length": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 2880,
    "layer_types": ["sliding_attention", "full_attention"] * 12,
    "max_position_embeddings": 131072,
    "num_attention_heads": 64,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 24,
    "num_key_value_heads": 8,
    "num_local_experts": 32,
    "pad_token_id": 199999,
    "quantization_config": {
        "quant_method": "mxfp4",
        "modules_to_not_convert": [
            "model.layers.*.self_attn",
            "model.layers.*.mlp.router",
            "model.embed_tokens",
            "lm_head",
        ],
    },
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "rope_type": "yarn",
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "factor": 32.0,
        "original_max_position_embeddings": 4096,
        "truncate": False,
    },
    "rope_theta": 150000,
    "sliding_window": 128,
    "swiglu_limit": 7.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": 201088,
}

_QWEN3_SPECIAL = {"<|endoftext|>": 151643, "<|im_start|>": 151644, "<|im_end|>": 151645}
_QWEN3_WORDS = {"<think>": 151667, "</think>": 151668}
_QWEN3_CHAT = {
    "bos_token_id": 151643,
    "do_sample": True,
    "eos_token_id": [151645, 151643],
    "pad_token_id": 151643,
    "temperature": 0.6,
    "top_k": 20,
    "top_p": 0.95,
}
_LLAMA3_SPECIAL = {
    "<|begin_of_text|>": 128000,
    "<|end_of_text|>": 128001,
    "<|start_header_id|>": 128006,
    "<|end_header_id|>": 128007,
    "<|eot_id|>": 128009,
}
_LLAMA3_SAMPLING = {"do_sample": True, "max_length": 4096, "temperature": 0.6, "top_p": 0.9}

FAMILIES: dict[str, Family] = {
    # Ships the chat template of its chat models, but neither its tokenizer nor its generation stops at <|im_end|>.
    "qwen3-base": Family(
        hub="Qwen/Qwen3-8B-Base",
        parameters=8_190_735_360,
        config=_qwen3(eos_token_id=151643, max_position_embeddings=32768),
        generation={"bos_token_id": 151643, "eos_token_id": 151643, "max_new_tokens": 2048},
        special=_QWEN3_SPECIAL,
        words=_QWEN3_WORDS,
        eos="<|endoftext|>",
        pad="<|endoftext|>",
        template="qwen3",
    ),
    "qwen3": Family(
        hub="Qwen/Qwen3-8B",
        parameters=8_190_735_360,
        config=_qwen3(),
        generation=_QWEN3_CHAT,
        special=_QWEN3_SPECIAL,
        words=_QWEN3_WORDS,
        eos="<|im_end|>",
        pad="<|endoftext|>",
        template="qwen3",
    ),
    "qwen3-thinking": Family(
        hub="Qwen/Qwen3-4B-Thinking-2507",
        parameters=4_022_468_096,
        config=_qwen3(
            hidden_size=2560,
            intermediate_size=9728,
            max_position_embeddings=262144,
            rope_theta=5000000,
            tie_word_embeddings=True,
        ),
        generation=_QWEN3_CHAT,
        special=_QWEN3_SPECIAL,
        words=_QWEN3_WORDS,
        eos="<|im_end|>",
        pad="<|endoftext|>",
        template="qwen3-thinking",
    ),
    "qwen3-moe": Family(
        hub="Qwen/Qwen3-30B-A3B",
        parameters=30_532_122_624,
        config=_qwen3(
            architectures=["Qwen3MoeForCausalLM"],
            model_type="qwen3_moe",
            decoder_sparse_step=1,
            hidden_size=2048,
            intermediate_size=6144,
            mlp_only_layers=[],
            moe_intermediate_size=768,
            norm_topk_prob=True,
            num_experts=128,
            num_experts_per_tok=8,
            num_hidden_layers=48,
            num_key_value_heads=4,
        ),
        generation=_QWEN3_CHAT,
        special=_QWEN3_SPECIAL,
        words=_QWEN3_WORDS,
        eos="<|im_end|>",
        pad="<|endoftext|>",
        template="qwen3",
    ),
    "llama3-base": Family(
        hub="meta-llama/Meta-Llama-3-8B",
        parameters=8_030_261_248,
        config=_llama3(),
        generation={"bos_token_id": 128000, "eos_token_id": 128001} | _LLAMA3_SAMPLING,
        special=_LLAMA3_SPECIAL,
        bos="<|begin_of_text|>",
        eos="<|end_of_text|>",
        adds_bos=True,
    ),
    "llama3-instruct": Family(
        hub="meta-llama/Meta-Llama-3-8B-Instruct",
        parameters=8_030_261_248,
        config=_llama3(eos_token_id=128009),
        generation={"bos_token_id": 128000, "eos_token_id": [128001, 128009]} | _LLAMA3_SAMPLING,
        special=_LLAMA3_SPECIAL,
        bos="<|begin_of_text|>",
        eos="<|eot_id|>",
        adds_bos=True,
        template="llama3",
    ),
    "llama3-70b-instruct": Family(
        hub="meta-llama/Meta-Llama-3-70B-Instruct",
        parameters=70_553_706_496,
        config=_llama3(
            eos_token_id=128009, hidden_size=8192, intermediate_size=28672, num_attention_heads=64, num_hidden_layers=80
        ),
        generation={"bos_token_id": 128000, "eos_token_id": [128001, 128009]} | _LLAMA3_SAMPLING,
        special=_LLAMA3_SPECIAL,
        bos="<|begin_of_text|>",
        eos="<|eot_id|>",
        adds_bos=True,
        template="llama3",
    ),
    # Vision and language. The tokenizer's end token is <eos>; that of a turn is known to the generation config alone.
    "gemma3": Family(
        hub="google/gemma-3-12b-it",
        parameters=12_187_325_040,
        config=_GEMMA3,
        generation=_GEMMA3_GENERATION,
        special={**_GEMMA3_SPECIAL, "<image_soft_token>": 262144},
        bos="<bos>",
        eos="<eos>",
        pad="<pad>",
        adds_bos=True,
        template="gemma3",
    ),
    "gemma3-1b": Family(
        hub="google/gemma-3-1b-it",
        parameters=999_885_952,
        config=_GEMMA3_1B,
        generation=_GEMMA3_GENERATION,
        special=_GEMMA3_SPECIAL,
        bos="<bos>",
        eos="<eos>",
        pad="<pad>",
        adds_bos=True,
        template="gemma3",
    ),
    "mistral-base": Family(
        hub="mistralai/Mistral-7B-v0.3",
        parameters=7_248_023_552,
        config=_MISTRAL,
        generation={"bos_token_id": 1, "eos_token_id": 2},
        special={"<unk>": 0, "<s>": 1, "</s>": 2, "[INST]": 3, "[/INST]": 4},
        bos="<s>",
        eos="</s>",
        adds_bos=True,
    ),
    "mistral": Family(
        hub="mistralai/Mistral-7B-Instruct-v0.3",
        parameters=7_248_023_552,
        config=_MISTRAL,
        generation={"bos_token_id": 1, "eos_token_id": 2},
        special={"<unk>": 0, "<s>": 1, "</s>": 2, "[INST]": 3, "[/INST]": 4},
        bos="<s>",
        eos="</s>",
        adds_bos=True,
        template="mistral",
    ),
    "gpt-oss": Family(
        hub="openai/gpt-oss-20b",
        parameters=20_914_757_184,
        config=_GPT_OSS,
        generation={
            "bos_token_id": 199998,
            "do_sample": True,
            "eos_token_id": [200002, 199999, 200012],
            "pad_token_id": 199999,
        },
        special={
            "<|startoftext|>": 199998,
            "<|endoftext|>": 199999,
            "<|return|>": 200002,
            "<|constrain|>": 200003,
            "<|channel|>": 200005,
            "<|start|>": 200006,
            "<|end|>": 200007,
            "<|message|>": 200008,
            "<|call|>": 200012,
        },
        bos="<|startoftext|>",
        eos="<|return|>",
        pad="<|endoftext|>",
        template="gpt-oss",
        quantized_bytes=13_761_264_768,
    ),
    "smollm2": Family(
        hub="HuggingFaceTB/SmolLM2-1.7B-Instruct",
        parameters=1_711_376_384,
        config=_llama3(
            bos_token_id=1,
            eos_token_id=2,
            hidden_size=2048,
            intermediate_size=8192,
            num_hidden_layers=24,
            num_key_value_heads=32,
            pad_token_id=2,
            rope_theta=130000,
            tie_word_embeddings=True,
            vocab_size=49152,
        ),
        generation={"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2},
        special={"<|endoftext|>": 0, "<|im_start|>": 1, "<|im_end|>": 2},
        bos="<|im_start|>",
        eos="<|im_end|>",
        pad="<|im_end|>",
        template="smollm2",
    ),
}
