"""The range of speeds that a dry run shows: what it depends on, and in which direction."""

from __future__ import annotations

from dataclasses import replace

import pytest

from selfinstruct.checks import speed
from selfinstruct.checks.speed import Range, Workload
from selfinstruct.engines.model_facts import ModelFacts
from selfinstruct.engines.parallelism import Parallelism
from selfinstruct.hardware import Gpu
from selfinstruct.text import GIB
from tests.model_shapes import shape

QWEN3_8B = shape(8_190_735_360, layers=36, kv_bytes_per_token=147_456, context_length=40960)
LOAD = Workload(context=1165, unshared=44, completion=67)
H100 = Gpu("NVIDIA H100 80GB HBM3", 80 * GIB, 79 * GIB)


def written(facts: ModelFacts = QWEN3_8B, load: Workload = LOAD, gpu: Gpu = H100, tensor: int = 1) -> Range:
    return speed.tokens_per_s(facts, load, gpu, Parallelism(tensor=tensor))


@pytest.mark.parametrize(
    ("name", "bandwidth"),
    [
        ("NVIDIA H100 80GB HBM3", 3.35),
        ("NVIDIA H100 PCIe", 2.0),
        ("NVIDIA H200", 4.8),
        ("NVIDIA A100-SXM4-80GB", 1.55),
        ("NVIDIA L4", 0.30),
        ("NVIDIA L40S", 0.86),
        ("NVIDIA GeForce RTX 4090", 1.01),
        ("Tesla T4", 0.32),
        ("NVIDIA GB10", 0.5),
    ],
)
def test_a_gpu_is_known_by_its_name(name: str, bandwidth: float) -> None:
    gpu = Gpu(name, 24 * GIB, 24 * GIB)
    assert speed._rates(gpu)[0] == bandwidth
    assert speed.known(gpu) == (name != "NVIDIA GB10")


def test_an_8b_on_an_h100_writes_thousands_of_tokens_a_second_and_replicas_multiply_it() -> None:
    one = written()
    assert 2_000 < one.low < 5_000 < one.high < 20_000
    eight = speed.tokens_per_s(QWEN3_8B, LOAD, H100, Parallelism(replicas=8))
    assert eight.low == pytest.approx(8 * one.low) and eight.high == pytest.approx(8 * one.high)
    starved = speed.tokens_per_s(QWEN3_8B, LOAD, H100, Parallelism(replicas=8), in_flight=512)
    assert one.high < starved.high < 0.8 * eight.high


def test_what_an_h200_wrote_lies_in_the_range() -> None:
    """docs/benchmarks.md: 1,024 requests at once, 1,700 tokens of prompt in common, 128 written."""
    h200 = Gpu("NVIDIA H200", 140 * GIB, 139 * GIB)
    measured = written(load=Workload(context=1749 + 64, unshared=49, completion=128), gpu=h200)
    assert measured.low < 10_681 < measured.high


def test_what_makes_it_slower() -> None:
    for slower in (
        written(load=replace(LOAD, context=8000.0)),
        written(load=replace(LOAD, unshared=2000.0)),
        written(gpu=replace(H100, name="NVIDIA L4", total=24 * GIB)),
        written(gpu=replace(H100, total=20 * GIB)),  # the cache holds fewer sequences
        written(facts=replace(QWEN3_8B, parameters=32_000_000_000), tensor=1),
    ):
        assert slower.low < written().low and slower.high < written().high


def test_experts_that_a_token_does_not_use_cost_no_arithmetic() -> None:
    dense = replace(QWEN3_8B, parameters=30_532_122_624, kv_bytes_per_token=98_304)
    moe = replace(dense, experts=128, experts_per_token=8)
    assert written(moe).low > 1.2 * written(dense).low
    arguments = {"tokens": 1e6, "gpu": H100, "num_gpus": 1, "adapter": True}
    assert speed.tuning_s(moe, **arguments).high == pytest.approx(speed.tuning_s(dense, **arguments).high / 16)


def test_a_training_takes_longer_with_every_weight_and_less_long_on_more_gpus() -> None:
    adapter = speed.tuning_s(QWEN3_8B, 1e6, H100, num_gpus=1, adapter=True)
    whole = speed.tuning_s(QWEN3_8B, 1e6, H100, num_gpus=1, adapter=False)
    assert adapter.low < adapter.high < 20 * 60 and whole.low > adapter.low
    assert speed.tuning_s(QWEN3_8B, 1e6, H100, num_gpus=8, adapter=True).low == pytest.approx(adapter.low / 8)
    assert speed.cpu_tokens_per_s(14_000_000).low < 1700 < speed.cpu_tokens_per_s(14_000_000).high
