"""How a model uses the GPUs of a machine: copies of the whole model, each on as few GPUs as can hold it.

A copy on few GPUs writes more tokens per second and GPU than one on many: the parts of a divided model wait for each
other in every layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from selfinstruct.engines.model_facts import ModelFacts

GPU_SHARE = 0.92
"""vLLM's own default of `gpu_memory_utilization`."""

_WEIGHT_SHARE = 0.6
"""Of a GPU's memory for the weights; the rest is for the cache, without which few requests run at once."""


@dataclass(frozen=True, slots=True)
class Parallelism:
    """How many GPUs share a copy of the model, and how many copies there are.

    Attributes:
        tensor: GPUs that share each layer.
        pipeline: groups of them that share the layers.
        replicas: copies of the model that answer requests independently of each other.
    """

    tensor: int = 1
    pipeline: int = 1
    replicas: int = 1

    @property
    def gpus_per_replica(self) -> int:
        """Return how many GPUs hold one copy."""
        return self.tensor * self.pipeline


def parallelism(facts: ModelFacts, arguments: Mapping[str, Any], num_gpus: int, gpu_bytes: int) -> Parallelism:
    """Return how to use all GPUs.

    What the user gives holds. The number of copies follows from the size of one, unless it is given too.

    Args:
        facts: of the model.
        arguments: vLLM's engine arguments, by its names.
        num_gpus: GPUs that may be used.
        gpu_bytes: memory of one.
    """
    sizes = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
    tensor, pipeline, replicas = (int(arguments[size]) if arguments.get(size) else None for size in sizes)
    if tensor is None and pipeline is None and replicas is None:
        tensor, pipeline = _divided(facts, arguments, num_gpus, gpu_bytes)
    divided = (tensor or 1) * (pipeline or 1)
    return Parallelism(tensor or 1, pipeline or 1, replicas or max(1, num_gpus // divided))


def own_replicas(facts: ModelFacts, arguments: Mapping[str, Any], num_gpus: int, gpu_bytes: int) -> int:
    """Return how many replicas run in processes of our own; 1 where there is one, or where vLLM makes them.

    vLLM's are for a mixture of experts whose `data_parallel_size` is given, since its replicas can share the experts,
    and wherever another of vLLM's arguments says how they are made.

    Args:
        facts: of the model.
        arguments: vLLM's engine arguments.
        num_gpus: GPUs that may be used.
        gpu_bytes: memory of one.
    """
    how = [name for name, value in arguments.items() if name.startswith("data_parallel_") and value]
    if arguments.get("enable_expert_parallel") or how not in ([], ["data_parallel_size"]) or (facts.moe and how):
        return 1
    if not num_gpus:
        return int(arguments.get("data_parallel_size") or 1)
    divided = parallelism(facts, arguments, num_gpus, gpu_bytes)
    fits = divided.replicas * divided.gpus_per_replica <= num_gpus
    return divided.replicas if fits else 1  # vLLM says what is wrong.


def loaded_bytes(facts: ModelFacts, arguments: Mapping[str, Any]) -> int:
    """Return the size of the weights in memory, over all GPUs of a copy.

    Args:
        facts: of the model.
        arguments: vLLM's engine arguments. Where they quantize weights that are not, it is the size of 8-bit weights.
    """
    size = facts.loaded_bytes(str(arguments.get("dtype", "auto")))
    return size // 2 if arguments.get("quantization") and not facts.quantization else size


def _divided(facts: ModelFacts, arguments: Mapping[str, Any], num_gpus: int, gpu_bytes: int) -> tuple[int, int]:
    """Return the tensor-parallel and the pipeline-parallel size.

    Layers are shared by the fewest GPUs that hold a copy with room for the cache, or by the most that can share them.
    Where those cannot hold it and all GPUs can, each has some of the layers.
    """
    weights = loaded_bytes(facts, arguments)
    usable = float(arguments.get("gpu_memory_utilization", GPU_SHARE)) * gpu_bytes
    possible = [size for size in range(1, num_gpus + 1) if _divides(facts, size)] or [1]
    tensor = next((size for size in possible if weights <= _WEIGHT_SHARE * gpu_bytes * size), possible[-1])
    if weights >= usable * tensor and num_gpus > tensor and facts.layers >= num_gpus:
        largest = math.ceil(facts.layers / num_gpus) / facts.layers
        if weights * largest < usable:
            return 1, num_gpus
    return tensor, 1


def _divides(facts: ModelFacts, size: int) -> bool:
    """Return whether `size` GPUs can share a layer: vLLM gives each of them the same number of heads."""
    shared = facts.kv_heads % size == 0 or size % facts.kv_heads == 0
    return facts.heads % size == 0 and shared
