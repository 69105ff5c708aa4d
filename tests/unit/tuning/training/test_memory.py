"""The memory of a training, against numbers worked out by hand."""

from __future__ import annotations

import dataclasses

import pytest

from selfinstruct.text import GIB
from tuning.training import memory
from tuning.training.memory import Estimate, MemorySettings, ModelSize

# Llama 2 7B: 32 layers of width 4096, 32 heads, vocabulary 32,000.
LLAMA_7B = ModelSize(6_738_415_616, 6_738_415_616, 0, layers=32, hidden=4096, heads=32)
FULL = MemorySettings(
    weight_bytes=4,
    trained_bytes=4,
    compute_bytes=2,
    optim="adamw_torch_fused",
    tokens=4 * 1024,
    longest=1024,
    checkpointing=True,
    cuda=True,
)
COPIES = 13_476_831_232  # of 2 bytes, by autocast


def estimated(size: ModelSize = LLAMA_7B, **changes) -> memory.Estimate:
    return memory.estimate(size, dataclasses.replace(FULL, **changes))


def test_full_fine_tuning_of_seven_billion_parameters():
    needed = estimated()
    assert needed.weights == needed.gradients == 26_953_662_464  # 4 bytes each
    assert needed.optimizer == 53_907_324_928  # two states of 4 bytes
    # 32 inputs of a layer, 4096 x 4 bytes each, and one layer of 2 x 17 x 4096 bytes: 663,552 bytes a token.
    assert needed.activations == 663_552 * 4096 + COPIES
    assert needed.total == needed.known + needed.activations


def test_without_checkpointing_every_layer_is_kept():
    assert estimated(checkpointing=False).activations == 32 * 34 * 4096 * 4096 + COPIES


def test_eager_attention_keeps_scores():
    needed = estimated(checkpointing=False, eager=True)
    assert needed.activations == 32 * (34 * 4096 + 5 * 32 * 1024) * 4096 + COPIES  # 34 h + 5 a s, as in the paper


def test_lora_keeps_states_for_the_adapter_alone():
    adapter = 39_976_960
    needed = estimated(ModelSize(6_738_415_616 + adapter, adapter, 0, 32, 4096, 32), weight_bytes=2)
    assert needed.weights == 2 * 6_738_415_616 + 4 * adapter
    assert (needed.gradients, needed.optimizer) == (4 * adapter, 8 * adapter)


@pytest.mark.parametrize(("bits", "of_a_weight"), [(4, 0.55), (8, 1.05)])
def test_quantized_weights(bits, of_a_weight):
    linear = 6_476_005_376  # all but the embeddings, the output layer and the norms
    size = ModelSize(6_738_415_616 + 10_000_000, 10_000_000, linear, 32, 4096, 32)
    needed = estimated(size, weight_bytes=2, trained_bytes=2, bits=bits)
    rest = 6_738_415_616 - linear
    assert needed.weights == round(2 * 10_000_000 + 2 * rest + of_a_weight * linear)


@pytest.mark.parametrize(
    ("optim", "of_a_parameter"),
    [
        ("adamw_torch", 8),
        ("adamw_bnb_8bit", 2),
        ("paged_adamw_8bit", 2),
        ("sgd", 0),
        ("adafactor", 0),
        ("unheard_of", 8),
    ],
)
def test_states_of_optimizers(optim, of_a_parameter):
    assert estimated(optim=optim).optimizer == of_a_parameter * LLAMA_7B.trained


def test_sharding_divides_all_that_is_known():
    assert estimated(shards=8).known == estimated().known // 8
    assert estimated(shards=8).activations == estimated().activations - COPIES + COPIES // 8


def test_what_cannot_fit_is_fatal_and_what_may_not_fit_is_a_warning():
    needed = estimated()
    assert 100 * GIB < needed.known < 101 * GIB < 113 * GIB < needed.total < 117 * GIB

    def names(free: int, total: int, **changes):
        settings = dataclasses.replace(FULL, **changes)
        return [(f.name, f.fatal) for f in memory.check_memory(needed, settings, free * GIB, total * GIB)]

    assert names(79, 80) == [("memory", True)]
    assert names(79, 80, offloaded=True) == [("memory", False)]
    assert names(110, 140) == [("memory", False)]  # another process uses the GPU, too
    assert names(139, 140) == []
    assert names(20, 24, cuda=False) == [("memory", False)]  # a machine can swap


def test_message_says_what_takes_memory_and_what_helps():
    (finding,) = memory.check_memory(estimated(), FULL, 79 * GIB, 80 * GIB)
    assert "weights 25.1, gradients 25.1, optimizer 50.2, activations 15.1" in finding.message
    assert "--use_peft" in finding.message


def test_size_of_a_configuration_without_allocating_it():
    from peft import LoraConfig
    from transformers import LlamaConfig

    config = LlamaConfig()  # its defaults are Llama 2 7B
    assert memory.model_size(config) == LLAMA_7B
    adapted = memory.model_size(
        config, LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM"), quantized=True
    )
    # A matrix of a x b gets 16 (a + b) parameters: four of 4096 x 4096 and three of 4096 x 11008 in each layer.
    assert adapted.trained == 32 * 16 * (4 * 8192 + 3 * 15104) == 39_976_960
    assert adapted.parameters == LLAMA_7B.parameters + adapted.trained
    assert adapted.quantized == 32 * (4 * 4096 * 4096 + 3 * 4096 * 11008)


def test_a_tiny_training_is_not_said_to_take_nothing() -> None:
    assert (
        str(Estimate(weights=14_000_000, gradients=14_000_000, optimizer=28_000_000, activations=0)) == "about 53.4 MiB"
    )
