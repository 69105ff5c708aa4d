"""Which GPUs hold which part of a model, for published models on machines of one to eight GPUs."""

from __future__ import annotations

from typing import Any

import pytest

from selfinstruct.engines.model_facts import ModelFacts
from selfinstruct.engines.parallelism import Parallelism, parallelism
from selfinstruct.text import GIB
from tests.model_shapes import shape

QWEN3_8B = shape(8.2e9, 32, 8)
QWEN25_32B = shape(32.8e9, 40, 8)
LLAMA_70B = shape(70.6e9, 64, 8)
GPT_OSS_120B = shape(117e9, 64, 8, quantization="mxfp4", weight_bytes=int(70.2e9))
UNKNOWN = shape(0, 0, 0)


@pytest.mark.parametrize(
    ("model", "given", "num_gpus", "gib", "expected"),
    [
        (QWEN3_8B, {}, 1, 80, Parallelism()),
        (QWEN3_8B, {}, 8, 80, Parallelism(replicas=8)),
        (QWEN3_8B, {}, 4, 24, Parallelism(tensor=2, replicas=2)),
        (QWEN3_8B, {"dtype": "float32"}, 2, 40, Parallelism(tensor=2)),
        (QWEN25_32B, {}, 6, 80, Parallelism(tensor=2, replicas=3)),
        # 5 divides its 40 heads, but not the 8 of keys and values; 4 cannot hold it.
        (QWEN25_32B, {}, 5, 16, Parallelism(pipeline=5)),
        (QWEN25_32B, {}, 5, 17, Parallelism(tensor=4)),
        (QWEN25_32B, {}, 5, 13, Parallelism(tensor=4)),  # nor can 5
        (shape(80e9, 64, 8), {}, 3, 75, Parallelism(pipeline=3)),
        (shape(80e9, 64, 8), {"tensor_parallel_size": 2}, 3, 75, Parallelism(tensor=2)),
        (shape(80e9, 64, 8), {"gpu_memory_utilization": 0.6}, 3, 75, Parallelism(tensor=2)),
        (LLAMA_70B, {}, 8, 80, Parallelism(tensor=4, replicas=2)),
        (LLAMA_70B, {}, 8, 141, Parallelism(tensor=2, replicas=4)),
        (LLAMA_70B, {}, 2, 80, Parallelism(tensor=2)),
        (LLAMA_70B, {"quantization": "fp8"}, 8, 141, Parallelism(replicas=8)),
        (LLAMA_70B, {"tensor_parallel_size": 2}, 8, 141, Parallelism(tensor=2, replicas=4)),
        (LLAMA_70B, {"tensor_parallel_size": 2, "pipeline_parallel_size": 2}, 8, 80, Parallelism(2, 2, 2)),
        (LLAMA_70B, {"data_parallel_size": 1}, 8, 80, Parallelism()),
        (LLAMA_70B, {"tensor_parallel_size": 8, "data_parallel_size": 1}, 8, 80, Parallelism(tensor=8)),
        (GPT_OSS_120B, {}, 8, 141, Parallelism(replicas=8)),
        (UNKNOWN, {}, 8, 80, Parallelism(replicas=8)),
    ],
)
def test_all_gpus_are_used(
    model: ModelFacts, given: dict[str, Any], num_gpus: int, gib: int, expected: Parallelism
) -> None:
    assert parallelism(model, given, num_gpus, gib * GIB) == expected
