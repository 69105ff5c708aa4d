"""Group the engine arguments of vLLM by what they affect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_IDENTITY = frozenset(
    "dtype quantization tokenizer tokenizer_revision max_model_len hf_overrides load_format kv_cache_dtype "
    "rope_scaling".split()
)
_OF_GENERATOR = frozenset("tokenizer tokenizer_revision quantization code_revision".split())


def of_identity(engine: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that change the model's answers, sorted by name. The others affect only its speed."""
    return {name: value for name, value in sorted(engine.items()) if name in _IDENTITY}


def of_other_models(engine: Mapping[str, Any]) -> dict[str, Any]:
    """Return the generator's arguments that also apply to other models: all but those that name its own files."""
    return {name: value for name, value in engine.items() if name not in _OF_GENERATOR}
