"""DeepSpeed's ZeRO-3 distributes every weight over the processes. Here are the two places that need whole models."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


def gather_when_saved(config: Any) -> None:
    """Make the trainer write whole weights. By default each process saves its part, which cannot be loaded as a model.

    Args:
        config: the `SFTConfig`, before the trainer is made.
    """
    plugin = config.deepspeed_plugin
    if plugin is not None and plugin.zero_stage == 3:
        plugin.hf_ds_config.config["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] = True


@contextlib.contextmanager
def whole_models() -> Iterator[None]:
    """Make transformers create whole models, in this process alone, within the block.

    Under ZeRO-3 it would distribute them, and wait for the other processes to do the same.
    """
    from transformers.integrations import deepspeed

    reference = deepspeed._hf_deepspeed_config_weak_ref
    deepspeed.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        deepspeed._hf_deepspeed_config_weak_ref = reference
