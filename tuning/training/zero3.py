"""DeepSpeed's ZeRO-3, which shares every weight out among the processes: where whole models are needed all the same."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


def gather_when_saved(training: Any) -> None:
    """Have the trainer write whole weights: else it saves each process's part, which nothing loads as a model.

    Args:
        training: the `SFTConfig`, before the trainer is made.
    """
    plugin = training.deepspeed_plugin
    if plugin is not None and plugin.zero_stage == 3:
        plugin.hf_ds_config.config["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] = True


@contextlib.contextmanager
def whole_models() -> Iterator[None]:
    """Within the block transformers makes models whole, and in this process alone.

    Under ZeRO-3 it would share them out, and wait for the other processes to do so too.
    """
    from transformers.integrations import deepspeed

    reference = deepspeed._hf_deepspeed_config_weak_ref
    deepspeed.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        deepspeed._hf_deepspeed_config_weak_ref = reference
