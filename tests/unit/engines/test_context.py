"""The default context: the model's own wherever it fits, else a shorter one that the engine starts with."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from selfinstruct.engines.context import default_context
from selfinstruct.engines.model_facts import ModelFacts, facts_of_config
from selfinstruct.engines.vllm import engine_arguments
from selfinstruct.hardware import Gpu, Hardware
from selfinstruct.text import GIB
from tests.gpu_box.families import FAMILIES
from tests.gpu_box.model_folder import full


def facts_of(family: str, folder: Path) -> ModelFacts:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(full(FAMILIES[family], folder))
    return facts_of_config(config, name=family, weight_bytes=FAMILIES[family].weight_bytes)


def gpus(number: int, gib: int) -> Hardware:
    return Hardware((Gpu("GPU", gib * GIB, gib * GIB),) * number, 64 * GIB, 64 * GIB)


@pytest.mark.parametrize(
    ("family", "hardware", "engine", "expected"),
    [
        ("qwen3", gpus(1, 80), {}, None),
        ("qwen3", gpus(1, 24), {}, 16384),  # 40,960 tokens need 5.6 GiB beside 15.3 GiB of weights
        ("qwen3", gpus(1, 24), {"kv_cache_dtype": "fp8"}, 32768),
        ("qwen3", gpus(1, 24), {"quantization": "bitsandbytes"}, None),
        ("qwen3", gpus(1, 16), {}, 4096),  # the weights alone do not fit; preflight says so
        ("qwen3-thinking", gpus(1, 24), {}, 40960),  # 262,144: more than prompts need
        ("llama3-70b-instruct", gpus(2, 80), {"tensor_parallel_size": 2}, None),
        ("llama3-base", gpus(1, 80), {}, None),  # 8,192
        ("qwen3-thinking", gpus(1, 80), {}, 40960),
        ("qwen3-thinking", gpus(8, 24), {"tensor_parallel_size": 1, "data_parallel_size": 8}, 40960),
        ("qwen3-thinking", gpus(8, 24), {"tensor_parallel_size": 8}, 40960),
    ],
)
def test_families_on_gpus(
    family: str, hardware: Hardware, engine: dict[str, Any], expected: int | None, tmp_path: Path
) -> None:
    assert default_context(facts_of(family, tmp_path), engine, hardware) == expected


def test_the_cache_on_a_machine_without_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts, nothing = facts_of("qwen3", tmp_path), Hardware((), 64 * GIB, 64 * GIB)
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "2")
    assert default_context(facts, {}, nothing) == 4096
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "20")
    assert default_context(facts, {}, nothing) is None


def test_a_processor_that_emulates_bfloat16_computes_in_float32(tmp_path: Path) -> None:
    facts, emulates = facts_of("qwen3", tmp_path), Hardware((), 64 * GIB, 64 * GIB, cpu_bf16=False)
    assert engine_arguments(facts, {}, emulates)["dtype"] == "float32"
    assert engine_arguments(facts, {"dtype": "bfloat16"}, emulates)["dtype"] == "bfloat16"
    assert "dtype" not in engine_arguments(facts, {}, dataclasses.replace(emulates, cpu_bf16=True))
    assert "dtype" not in engine_arguments(facts, {}, dataclasses.replace(gpus(1, 80), cpu_bf16=False))
    assert "dtype" not in engine_arguments(dataclasses.replace(facts, quantization="gptq"), {}, emulates)
    assert "dtype" not in engine_arguments(facts, {}, dataclasses.replace(emulates, total_memory=32 * GIB))


def test_the_users_context_wins(tmp_path: Path) -> None:
    facts, small = facts_of("qwen3", tmp_path), gpus(1, 24)
    assert engine_arguments(facts, {}, small)["max_model_len"] == 16384
    assert engine_arguments(facts, {"max_model_len": 40960}, small)["max_model_len"] == 40960
    assert "max_model_len" not in engine_arguments(facts, {}, gpus(1, 80))


def test_the_smallest_of_unequal_gpus_counts(tmp_path: Path) -> None:
    facts = facts_of("qwen3", tmp_path)
    unequal = Hardware((*gpus(1, 80).gpus, *gpus(1, 20).gpus), 64 * GIB, 64 * GIB)
    assert engine_arguments(facts, {}, unequal) == engine_arguments(facts, {}, gpus(2, 20))
    assert engine_arguments(facts, {}, unequal) != engine_arguments(facts, {}, gpus(2, 80))
    given = {"tensor_parallel_size": 1}
    assert default_context(facts, given, unequal) == default_context(facts, given, gpus(2, 20)) is not None


def test_layers_are_divided_where_no_layer_can_be_shared_enough(tmp_path: Path) -> None:
    found = engine_arguments(facts_of("llama3-70b-instruct", tmp_path), {}, gpus(3, 60))
    assert (found["tensor_parallel_size"], found["pipeline_parallel_size"], found["data_parallel_size"]) == (1, 3, 1)


def test_no_weights_for_images_are_loaded(tmp_path: Path) -> None:
    facts, large = facts_of("gemma3", tmp_path), gpus(1, 80)
    assert engine_arguments(facts, {}, large)["language_model_only"] is True
    assert engine_arguments(facts, {"language_model_only": False}, large)["language_model_only"] is False


def test_no_more_is_asked_for_than_is_needed(tmp_path: Path) -> None:
    facts = facts_of("qwen3-thinking", tmp_path)
    assert engine_arguments(facts, {}, gpus(1, 80), 20_480)["max_model_len"] == 20_480
    assert engine_arguments(facts, {"max_model_len": 131_072}, gpus(1, 80), 20_480)["max_model_len"] == 131_072
    assert default_context(facts_of("llama3-base", tmp_path / "base"), {}, gpus(1, 80), 20_480) is None
    assert default_context(facts_of("qwen3", tmp_path / "small"), {}, gpus(1, 24), 12_288) == 12_288
