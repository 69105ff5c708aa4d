"""The context that an engine gets where the user gives none: the model's own, or what prompts need of it, or less.

vLLM does not start unless its cache holds one sequence of the whole context. Models come with contexts of 131,072
tokens and more; no prompt of ours needs a third of that.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from selfinstruct.engines.model_facts import ModelFacts
from selfinstruct.engines.parallelism import GPU_SHARE, loaded_bytes, parallelism
from selfinstruct.hardware import Hardware
from selfinstruct.text import GIB

_OVERHEAD = 0.06
"""Share of a GPU for activations, CUDA graphs and the sampler, at vLLM's batch sizes for offline use."""
_SHORTEST = 4096
"""Tokens; a shorter context would leave out examples from the prompts with the packaged seeds."""

ENOUGH = 40_960
"""Tokens: twelve tasks of 2,000 words with their instances, and a long answer. `--engine.max-model-len` gives more."""


def default_context(
    facts: ModelFacts, engine: Mapping[str, Any], hardware: Hardware, enough: int = ENOUGH
) -> int | None:
    """Return the context to ask of vLLM where the model's own is more than prompts need, or than memory holds.

    The cache is to hold two sequences of that length. It depends only on the model, the arguments and the size of the
    machine, so that an engine that is started again has the same.

    Args:
        facts: of the model.
        engine: vLLM's engine arguments.
        hardware: of this machine.
        enough: tokens that no prompt with its answer exceeds.

    Returns:
        Tokens; None where the model's own context fits, or where only vLLM can know.
    """
    if not facts.context_length or not facts.kv_bytes_per_token:
        return None
    wanted = min(facts.context_length, enough)
    token = facts.kv_bytes_per_token / (2 if str(engine.get("kv_cache_dtype", "")).startswith("fp8") else 1)
    longest = _cache_bytes(facts, engine, hardware) / 2 / token
    if wanted <= max(longest, _SHORTEST):
        return wanted if wanted < facts.context_length else None
    return max(_SHORTEST, 1 << (int(longest).bit_length() - 1)) if longest >= 1 else _SHORTEST


def cpu_cache_bytes() -> float:
    """Return how much memory vLLM takes for its cache where there is no GPU."""
    return float(os.environ.get("VLLM_CPU_KVCACHE_SPACE") or 2) * GIB


def _cache_bytes(facts: ModelFacts, engine: Mapping[str, Any], hardware: Hardware) -> float:
    """Return about how much memory a replica's cache has; negative where the weights do not fit."""
    if not hardware.gpus:
        return cpu_cache_bytes()
    total = hardware.gpu_bytes
    gpus = parallelism(facts, engine, len(hardware.gpus), total).gpus_per_replica
    share = float(engine.get("gpu_memory_utilization", GPU_SHARE)) - _OVERHEAD
    return share * total * gpus - loaded_bytes(facts, engine)
