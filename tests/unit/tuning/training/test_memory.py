"""The memory of a training, against numbers worked out by hand."""

from __future__ import annotations

import dataclasses

import pytest

from selfinstruct.text import GIB
from tuning.training import memory
from tuning.training.memory import Estimate, MemorySettings, ModelSize

# Llama 2 7B: 32 layers of width 4096 with two norms each, 32 heads, vocabulary 32,000.
LLAMA_7B = ModelSize(
    6_738_415_616,
    6_738_415_616,
    0,
    layers=32,
    heads=32,
    hidden=4096,
    feed_forward=11008,
    queries=4096,
    keys=4096,
    norms=2 * 4096,
)
ADAPTER = 39_976_960
LORA = dataclasses.replace(LLAMA_7B, parameters=LLAMA_7B.parameters + ADAPTER, trained=ADAPTER)
# Bytes per token. Two of arithmetic, four of a weight: 2 x (4 x 11008 + 4 x 4096) + (4 + 2 x 4) x 8192.
LAYER = 219_136
BACKWARD = 2 * 2 * 11008 + (4 + 2) * 4096
ENDS = (2 + 12) * 4096
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
    # 32 inputs of a layer, 4096 x 4 bytes each, and one layer that is computed again.
    assert needed.activations == (32 * 4096 * 4 + LAYER + BACKWARD) * 4096 + COPIES
    assert needed.total == needed.known + needed.activations


def test_without_checkpointing_every_layer_is_kept():
    assert estimated(checkpointing=False).activations == (32 * LAYER + BACKWARD + ENDS) * 4096 + COPIES


def test_eager_attention_keeps_scores():
    needed = estimated(checkpointing=False, eager=True)
    scores = 5 * 32 * 1024  # 5 a s, as in the paper
    assert needed.activations == (32 * (LAYER + scores) + BACKWARD + ENDS) * 4096 + COPIES


def test_lora_keeps_states_for_the_adapter_alone():
    needed = estimated(LORA, weight_bytes=2)
    assert needed.weights == 2 * LLAMA_7B.parameters + 4 * ADAPTER
    assert (needed.gradients, needed.optimizer) == (4 * ADAPTER, 8 * ADAPTER)


def test_an_adapter_computes_in_float32_and_its_dropout_keeps_masks():
    # Seven matrices: six get 4096 numbers, one 11008.
    masks = 6 * 4096 + 11008
    layer = 2 * (4 * 11008 + 4 * 4096) + (4 + 2 * 2) * 8192
    backward = 6 * 11008 + 14 * 4096
    inputs = 32 * 4096 * 2
    without = estimated(LORA, weight_bytes=2)
    assert without.activations - 2 * ADAPTER == (inputs + layer + backward) * 4096
    with_dropout = dataclasses.replace(LORA, dropped=masks)
    more = estimated(with_dropout, weight_bytes=2).activations - without.activations
    assert more == (masks + 4 * 11008) * 4096
    # On a CPU, the mask is made of float32.
    assert (
        estimated(with_dropout, weight_bytes=2, cuda=False).activations - without.activations == more + 3 * masks * 4096
    )


def test_each_expert_of_a_token_gets_a_copy_and_gives_one():
    experts = dataclasses.replace(LLAMA_7B, routed=8)
    assert estimated(experts).activations - estimated().activations == (2 + 1) * 2 * 8 * 4096 * 4096


@pytest.mark.parametrize(("bits", "of_a_weight"), [(4, 0.55), (8, 1.05)])
def test_quantized_weights(bits, of_a_weight):
    linear = 6_476_005_376  # all but the embeddings, the output layer and the norms
    size = dataclasses.replace(LORA, quantized=linear)
    needed = estimated(size, weight_bytes=2, trained_bytes=2, bits=bits)
    rest = LLAMA_7B.parameters - linear
    assert needed.weights == round(2 * ADAPTER + 2 * rest + of_a_weight * linear)


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
    assert "weights 25.1, gradients 25.1, optimizer 50.2, activations 15.6" in finding.message
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
    assert adapted.trained == 32 * 16 * (4 * 8192 + 3 * 15104) == ADAPTER
    assert adapted.parameters == LLAMA_7B.parameters + adapted.trained
    assert adapted.dropped == 0
    assert adapted.quantized == 32 * (4 * 4096 * 4096 + 3 * 4096 * 11008)


def test_size_of_a_mixture_of_experts_with_norms_of_heads():
    from peft import LoraConfig
    from transformers import Qwen3MoeConfig

    config = Qwen3MoeConfig(num_hidden_layers=2, num_experts=8, head_dim=128)  # 8 experts of 768 for each token
    size = memory.model_size(config, LoraConfig(r=8, lora_dropout=0.1, target_modules=["q_proj", "o_proj"]))
    hidden, queries, keys = config.hidden_size, 32 * 128, config.num_key_value_heads * 128
    assert (size.feed_forward, size.routed) == (8 * 768, 8)
    assert (size.queries, size.keys) == (queries, keys)
    assert size.norms == 2 * hidden + queries + keys
    assert size.dropped == hidden + queries


def test_a_tiny_training_is_not_said_to_take_nothing() -> None:
    assert (
        str(Estimate(weights=14_000_000, gradients=14_000_000, optimizer=28_000_000, activations=0)) == "about 53.4 MiB"
    )
