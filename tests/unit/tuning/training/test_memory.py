"""The estimate of memory, against numbers worked out by hand."""

from __future__ import annotations

import pytest

from tuning.training import memory
from tuning.training.memory import GIB, Plan, Shape

# Llama 2 7B: 32 layers of width 4096, MLP 11008, 32 heads of 128, vocabulary 32,000.
LLAMA_7B = Shape(6_738_415_616, 6_738_415_616, 0, 32, 4096, 11008, 4096, 32)
FULL = Plan(
    weight_bytes=4,
    trained_bytes=4,
    compute_bytes=2,
    optim="adamw_torch_fused",
    tokens=4 * 1024,
    longest=1024,
    checkpointing=True,
    device="cuda",
)


def planned(plan: Plan = FULL, **changes) -> Plan:
    return Plan(**{**plan.__dict__, **changes})


def test_full_fine_tuning_of_seven_billion_parameters():
    found = memory.estimate(LLAMA_7B, FULL)
    assert found.weights == found.gradients == 26_953_662_464  # 4 bytes each
    assert found.optimizer == 53_907_324_928  # two states of 4 bytes
    assert found.casts == 13_476_831_232  # a copy of 2 bytes
    # One layer: 2 x 4096 x 10 + 2 (2 x 4096 + 2 x 4096) + 8 x 11008 = 202,752 bytes a token; two of them, and
    # 32 residuals of 4096 x 4 bytes = 524,288: 929,792 bytes x 4096 tokens.
    assert found.activations == 929_792 * 4096
    assert found.total == found.certain + 13_476_831_232 + 929_792 * 4096 + found.overhead


def test_without_checkpointing_every_layer_is_kept():
    assert memory.estimate(LLAMA_7B, planned(checkpointing=False)).activations == 32 * 202_752 * 4096


def test_eager_attention_keeps_scores():
    found = memory.estimate(LLAMA_7B, planned(checkpointing=False, eager=True))
    assert found.activations == 32 * (202_752 + 32 * 1024 * 6) * 4096


def test_lora_keeps_states_for_the_adapter_alone():
    shape = Shape(6_738_415_616 + 39_976_960, 39_976_960, 0, 32, 4096, 11008, 4096, 32)
    found = memory.estimate(shape, planned(weight_bytes=2))
    assert found.weights == 2 * 6_738_415_616 + 4 * 39_976_960
    assert (found.gradients, found.optimizer) == (4 * 39_976_960, 8 * 39_976_960)
    assert found.casts == 2 * 39_976_960


@pytest.mark.parametrize(("bits", "of_a_weight"), [(4, 0.55), (8, 1.05)])
def test_quantized_weights(bits, of_a_weight):
    linear = 6_476_005_376  # all but the embeddings, the output layer and the norms
    shape = Shape(6_738_415_616 + 10_000_000, 10_000_000, linear, 32, 4096, 11008, 4096, 32)
    found = memory.estimate(shape, planned(weight_bytes=2, trained_bytes=2, bits=bits))
    rest = 6_738_415_616 - linear
    assert found.weights == round(2 * 10_000_000 + 2 * rest + of_a_weight * linear)
    assert found.casts == 0


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
    assert memory.estimate(LLAMA_7B, planned(optim=optim)).optimizer == of_a_parameter * LLAMA_7B.trained


def test_sharding_divides_all_but_the_activations():
    alone, shared = memory.estimate(LLAMA_7B, FULL), memory.estimate(LLAMA_7B, planned(shards=8))
    assert shared.certain == alone.certain // 8
    assert shared.casts == alone.casts // 8
    assert shared.activations == alone.activations


def test_what_cannot_fit_is_fatal_and_what_may_not_is_said():
    found = memory.estimate(LLAMA_7B, FULL)
    assert 100 * GIB < found.certain < 101 * GIB < 115 * GIB < found.total < 120 * GIB

    def names(free: int, total: int, **changes):
        return [(f.name, f.fatal) for f in memory.finding(found, planned(**changes), free * GIB, total * GIB)]

    assert names(79, 80) == [("memory", True)]
    assert names(79, 80, offloaded=True) == [("memory", False)]
    assert names(110, 140) == [("memory", False)]  # another process is there
    assert names(139, 140) == []
    assert names(20, 24, device="cpu") == [("memory", False)]  # a machine can swap


def test_message_says_what_takes_it_and_what_helps():
    (found,) = memory.finding(memory.estimate(LLAMA_7B, FULL), FULL, 79 * GIB, 80 * GIB)
    assert "weights 25.1, gradients 25.1, optimizer 50.2, casts 12.6, activations 3.5" in found.message
    assert "--use_peft" in found.message


def test_shape_of_a_configuration_without_allocating_it():
    from peft import LoraConfig
    from transformers import LlamaConfig

    config = LlamaConfig()  # its defaults are Llama 2 7B
    assert memory.shape_of(config) == LLAMA_7B
    adapted = memory.shape_of(
        config, LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM"), quantized=True
    )
    # A matrix of a x b gets 16 (a + b) parameters: four of 4096 x 4096 and three of 4096 x 11008 in each layer.
    assert adapted.trained == 32 * 16 * (4 * 8192 + 3 * 15104) == 39_976_960
    assert adapted.parameters == LLAMA_7B.parameters + adapted.trained
    assert adapted.quantized == 32 * (4 * 4096 * 4096 + 3 * 4096 * 11008)
