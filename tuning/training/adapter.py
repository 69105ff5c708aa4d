"""The LoRA of a training, with the one thing that it cannot learn by itself: a new token that ends an answer.

LoRA changes linear layers and leaves the embeddings as they are. A token that the base model never ended a text with
stays as unlikely as it was, whatever its template and its files say. So the rows of that token alone are trained with
the adapter.
"""

from __future__ import annotations

from typing import Any

import trl

from tuning.training.prepare import Prepared
from tuning.training.zero3 import whole_models


def adapter_config(model: trl.ModelConfig, prepared: Prepared) -> Any:
    """Return PEFT's configuration of the adapter; None where every parameter is trained.

    Args:
        model: TRL's.
        prepared: the base model, and the token that ends its answers.
    """
    config = trl.get_peft_config(model)
    if config is not None:
        # Whoever loads the adapter takes its base from the same revision.
        config.revision = None if model.model_revision == "main" else model.model_revision
    if config is not None and (prepared.new_end_token or prepared.unlearnt_end):
        whole = config.modules_to_save or []
        names = [name for name in _embeddings(prepared) if name.rpartition(".")[2] not in whole]
        config.trainable_token_indices = {name: [prepared.tokenizer.eos_token_id] for name in names} or None
    return config


def complete_wrapper(model: Any) -> None:
    """Give PEFT's wrapper of an output layer the attribute `bias`, which TRL reads beside `weight`.

    Args:
        model: loaded, with its adapter.
    """
    from peft.utils.other import TrainableTokensWrapper

    output = model.get_output_embeddings()
    if isinstance(output, TrainableTokensWrapper):
        object.__setattr__(output, "bias", output.original_module.bias)  # Not as a parameter of its own.


def trains_token(model: Any) -> bool:
    """Return whether anything of the output layer is trained, or of the embedding that it is tied to.

    Args:
        model: loaded, with its adapter.
    """
    layers = [model.get_output_embeddings(), model.get_input_embeddings() if model.config.tie_word_embeddings else None]
    return any(parameter.requires_grad for layer in layers if layer is not None for parameter in layer.parameters())


def _embeddings(prepared: Prepared) -> list[str]:
    """Return the names of the embedding and of the output layer."""
    import torch
    from transformers import AutoModelForCausalLM

    trust = prepared.base.options["trust_remote_code"]
    with whole_models(), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(prepared.model_config, trust_remote_code=trust)
    layers = (model.get_input_embeddings(), model.get_output_embeddings())
    return [name for name, module in model.named_modules() if any(module is layer for layer in layers)]
