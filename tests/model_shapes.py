"""Made-up facts of models, for tests of what follows from a model's size and shape."""

from __future__ import annotations

from typing import Any

from selfinstruct.engines.model_facts import ModelFacts


def shape(parameters: float, heads: int = 32, kv_heads: int = 8, **changes: Any) -> ModelFacts:
    """Return a model of this many parameters in bfloat16; `changes` are further fields of `ModelFacts`."""
    values: dict[str, Any] = {
        "name": "model",
        "revision": None,
        "architecture": "",
        "weight_bytes": int(parameters) * 2,
        "parameters": int(parameters),
        "dtype": "bfloat16",
        "quantization": None,
        "layers": 64,
        "hidden": 4096,
        "heads": heads,
        "kv_heads": kv_heads,
        "kv_bytes_per_token": 131_072,
        "context_length": 4096,
    }
    return ModelFacts(**values | changes)
