"""What kinds of vLLM engine arguments there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_IDENTITY = frozenset(
    "dtype quantization tokenizer tokenizer_revision max_model_len hf_overrides load_format kv_cache_dtype "
    "rope_scaling".split()
)
_OF_GENERATOR = frozenset("tokenizer tokenizer_revision quantization code_revision".split())


def of_identity(engine: Mapping[str, Any]) -> dict[str, Any]:
    """Return, sorted, the arguments that change what the model answers; the others only change its pace."""
    return {name: value for name, value in sorted(engine.items()) if name in _IDENTITY}


def of_other_models(engine: Mapping[str, Any]) -> dict[str, Any]:
    """Return the generator's arguments for other models of its run: without those that belong to its own files."""
    return {name: value for name, value in engine.items() if name not in _OF_GENERATOR}
