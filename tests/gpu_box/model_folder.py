"""Make a model folder of a family: in its published shape without weights, or tiny with random ones.

    full(FAMILIES["qwen3-base"], folder)     # what a config alone can tell: sizes, prompting, end tokens
    tiny(FAMILIES["qwen3-base"], folder)     # can be generated with, trained and evaluated on a CPU

Both have a small byte-level tokenizer with the family's special tokens. In the published shape these have the
published ids; in a tiny model they are numbered from 0, and every id in the configs is changed accordingly.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.gpu_box.families import TEMPLATES, Family

_TEXT = [
    "What is the capital of France? Paris is the capital. Name a colour of the sky: blue.",
    "Sort the words: river apple stone. The answer is: apple river stone.",
    "Come up with a series of tasks. Task 1: Is it a classification? Input: Output: Yes No",
]
_TINY = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,  # the smallest that vLLM's attention on CPUs takes
}
_TINY_OF_TYPE: dict[str, dict[str, Any]] = {
    "gemma3_text": {"query_pre_attn_scalar": 32, "sliding_window": 64},
    "siglip_vision_model": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    },
    "gpt_oss": {"num_local_experts": 4, "num_experts_per_tok": 2, "experts_per_token": 2},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64},
}


def full(family: Family, folder: Path, *, weights: bool = False) -> Path:
    """Write a model in its published shape, and return the folder.

    Args:
        family: the model.
        folder: made if it does not exist.
        weights: add a file of the published size that takes no space on disk and holds no numbers.
    """
    _tokenizer(family, dict(family.special) | dict(family.words)).save_pretrained(folder)
    _write(folder, family.config, family.generation)
    if weights:
        _write_hollow_weights(folder / "model.safetensors", family)
    return folder


def tiny(family: Family, folder: Path, *, seed: int = 0) -> Path:
    """Write a model of the same architecture with random weights and less than a megabyte, and return the folder."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    old_ids = sorted({**family.special, **family.words}.items(), key=lambda item: item[1])
    ids = {token: number for number, (token, _) in enumerate(old_ids)}
    words = _tokenizer(family, ids)
    renumbered = {old: ids[token] for token, old in old_ids}
    config = _tiny_config(family.config, renumbered, len(words))
    _write(folder, config, _with_ids(family.generation, renumbered))
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.bfloat16)
    # transformers makes the padding token's row zero. Where that token ends turns, a real model has learnt it.
    rows = model.get_input_embeddings().weight
    with torch.no_grad():
        empty = rows.abs().sum(dim=1) == 0
        rows[empty] = torch.randn_like(rows[empty]) * rows.std()
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    _write(folder, config, _with_ids(family.generation, renumbered))  # in the published form, not in transformers' own
    return folder


def _write(folder: Path, config: Mapping[str, Any], generation: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in {"config.json": config, "generation_config.json": generation}.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _write_hollow_weights(path: Path, family: Family) -> None:
    kind, size = ("U8", 1) if family.quantized_bytes else ("BF16", 2)
    tensor = {"dtype": kind, "shape": [family.weight_bytes // size], "data_offsets": [0, family.weight_bytes]}
    header = json.dumps({"weight": tensor}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with path.open("r+b") as file:
        file.truncate(8 + len(header) + family.weight_bytes)


def _tiny_config(config: Mapping[str, Any], renumbered: Mapping[int, int], vocab_size: int) -> dict[str, Any]:
    """Return a config with few layers of little width; lengths, rotary options and flags stay as they are."""
    result = {
        key: _tiny_config(value, renumbered, vocab_size) if key.endswith("_config") else value
        for key, value in _with_ids(config, renumbered).items()
        if key != "quantization_config"
    }
    small = {**_TINY, "vocab_size": vocab_size} | _TINY_OF_TYPE.get(config.get("model_type", ""), {})
    result |= {key: value for key, value in small.items() if key in config or key in ("head_dim",)}
    if result.get("tie_word_embeddings"):
        # LoRA leaves the output layer as it is. At the usual 0.02 and this width no logit could exceed 1.3.
        result["initializer_range"] = 0.2
    if "layer_types" in result:
        result["layer_types"] = result["layer_types"][: result["num_hidden_layers"]]
    if "vision_config" in result:
        result["vision_config"] |= {"image_size": 2 * result["vision_config"]["patch_size"]}
        result["mm_tokens_per_image"] = 4
        del result["head_dim"]
    return result


def _with_ids(config: Mapping[str, Any], renumbered: Mapping[int, int]) -> dict[str, Any]:
    """Return the config with the new ids of the special tokens."""

    def new(key: str, value: Any) -> Any:
        if not key.endswith(("_token_id", "_token_index")):
            return value
        return [renumbered[i] for i in value] if isinstance(value, list) else renumbered[value]

    return {key: new(key, value) for key, value in config.items()}


def _tokenizer(family: Family, ids: Mapping[str, int]) -> Any:
    """Return a byte-level tokenizer of a few merges with the family's special tokens, bearing these ids."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trained.train_from_iterator(_TEXT, trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet))
    model = json.loads(trained.to_str())["model"]
    free = (number for number in range(10**6) if number not in ids.values())
    pieces = sorted(model["vocab"], key=model["vocab"].__getitem__)
    vocabulary = dict(zip(pieces, free, strict=False)) | dict(ids)

    core = Tokenizer(models.BPE(vocabulary, [tuple(pair) for pair in model["merges"]]))
    core.pre_tokenizer = trained.pre_tokenizer
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(list(family.special))
    core.add_tokens([AddedToken(word, special=False, normalized=False) for word in family.words])
    if family.adds_bos:
        assert family.bos is not None
        core.post_processor = processors.TemplateProcessing(
            single=f"{family.bos} $A", special_tokens=[(family.bos, ids[family.bos])]
        )
    named = {"bos_token": family.bos, "eos_token": family.eos, "pad_token": family.pad}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, **{k: v for k, v in named.items() if v is not None})
    if family.template is not None:
        tokenizer.chat_template = (TEMPLATES / f"{family.template}.jinja").read_text(encoding="utf-8")
    return tokenizer
