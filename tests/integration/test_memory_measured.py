"""The estimate of activations against the tensors that are alive while small models of real families compute."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from transformers import AutoModelForCausalLM, Gemma3TextConfig, LlamaConfig, Qwen3Config, Qwen3MoeConfig

from tuning.training import memory
from tuning.training.memory import MemorySettings

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("one_thread")]

ROWS, LENGTH = 4, 128
HIDDEN = 128
SHAPE = {"vocab_size": 64, "hidden_size": HIDDEN, "num_hidden_layers": 4, "num_attention_heads": 4}
# Llama 3, Qwen 3 and Gemma 3 have feed-forward parts so many times as wide as the hidden size.
FAMILIES: dict[str, Any] = {
    "llama": LlamaConfig(**SHAPE, num_key_value_heads=1, intermediate_size=HIDDEN * 7 // 2),
    "qwen3": Qwen3Config(**SHAPE, num_key_value_heads=1, intermediate_size=HIDDEN * 3, head_dim=32),
    "gemma3": Gemma3TextConfig(**SHAPE, num_key_value_heads=2, intermediate_size=HIDDEN * 4, head_dim=32),
    "qwen3-moe": Qwen3MoeConfig(
        **SHAPE,
        num_key_value_heads=1,
        head_dim=32,
        num_experts=8,
        num_experts_per_tok=4,
        moe_intermediate_size=HIDDEN // 2,
    ),
}
# As the tuner computes: (bytes of a weight, of the arithmetic, dropout of the adapter or None). Weights of 4 bytes with
# arithmetic of 2 are left out: here the copies of weights, which are counted apart, outweigh the rest.
WAYS = {
    "full, float32": (4, 4, None),
    "full, bfloat16": (2, 2, None),
    "LoRA without dropout": (2, 2, 0.0),
    "LoRA": (2, 2, 0.05),
}


class Alive(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive at once, those of the model apart.

    Attributes:
        most: bytes, at most.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        owned = [*model.parameters(), *model.buffers(), *(p.grad for p in model.parameters() if p.grad is not None)]
        self._known = {tensor.untyped_storage()._cdata for tensor in owned}
        self._alive = self.most = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        tree_map_only(torch.Tensor, self._count, result)
        return result

    def _count(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            self._alive += size
            self.most = max(self.most, self._alive)
            weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._alive -= size


def adapter(dropout: float) -> LoraConfig:
    return LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", lora_dropout=dropout)


def alive(config: Any, weight_bytes: int, dropout: float | None, checkpointing: bool) -> int:
    """Return the most bytes that one forward and backward pass keeps, without weights and gradients."""
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32 if weight_bytes == 4 else torch.bfloat16)
    if dropout is not None:
        model = get_peft_model(model, adapter(dropout))
        model.enable_input_require_grads()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.zeros_like(parameter)
    backbone = (model if dropout is None else model.get_base_model()).model
    gc.collect()
    with Alive(model) as counted:
        with torch.autocast("cpu", torch.bfloat16, enabled=weight_bytes == 2):
            out = backbone(input_ids=torch.ones(ROWS, LENGTH, dtype=torch.long), use_cache=False)[0]
        out.backward(torch.ones_like(out))
    return counted.most


# PEFT has no dropout before experts in one tensor.
CASES = [(family, way) for family in FAMILIES for way in WAYS if (family, way) != ("qwen3-moe", "LoRA")]


@pytest.mark.parametrize(("family", "way"), CASES)
def test_what_is_alive_is_within_a_sixth_of_the_estimate(family: str, way: str) -> None:
    _compare(FAMILIES[family], way, checkpointing=True)


@pytest.mark.parametrize("way", WAYS)
def test_so_it_is_where_all_layers_are_kept(way: str) -> None:
    _compare(FAMILIES["llama"], way, checkpointing=False)


def _compare(config: Any, way: str, checkpointing: bool) -> None:
    weight_bytes, compute_bytes, dropout = WAYS[way]
    size = memory.model_size(config, None if dropout is None else adapter(dropout))
    settings = MemorySettings(
        weight_bytes=weight_bytes,
        trained_bytes=4 if dropout is not None else weight_bytes,
        compute_bytes=compute_bytes,
        optim="adamw_torch",
        tokens=ROWS * LENGTH,
        longest=LENGTH,
        checkpointing=checkpointing,
        cuda=False,
    )
    estimate = memory.estimate(size, settings).activations
    assert 5 / 6 < alive(config, weight_bytes, dropout, checkpointing) / estimate < 7 / 6
