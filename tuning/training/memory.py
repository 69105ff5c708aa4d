"""Whether a training fits into memory: bytes on one device.

Known from the model and the arguments:

    weights       parameters x bytes of their precision; 0.55 (4 bit) or 1.05 (8 bit) where they are quantized
    gradients     trained parameters x bytes of their precision
    optimizer     trained parameters x bytes of its states: Adam has two as precise as the weight, 8-bit Adam two of one
                  byte, SGD none

FSDP and ZeRO-3 divide these by the number of processes. Estimated: what is kept for the backward pass, and what this
pass needs besides. With h = hidden size, f = width of the feed-forward part, q and k = widths of the queries and of the
keys, n = widths of a layer's norms together, a = attention heads, s = longest sequence, c = bytes of the arithmetic,
w = bytes of a weight, bytes per token:

    layer      c (4 f + 2 q + 2 k) + (4 + 2 w) n: what a layer's matrices and its norms, which compute in float32, get
               and give; c 2.5 a s more with eager attention, which keeps its scores (Korthikanti et al. 2022, arXiv
               2205.05198); 2 c h more for each expert that a token uses; with an adapter, the mask of its dropout:
               1 byte on a GPU, else 4, for each of its inputs
    backward   2 c f + (4 + c) h: gradients of one layer, before they are added to what they belong to; in 16 bits with
               an adapter, which computes in float32, 6 f + 14 h, and 4 f more with dropout; c h more for each expert
               that a token uses
    ends       c h + (4 + 2 w) h: the embedding, and the norm after the last layer

    activations   tokens of a batch x (layers x layer + backward + ends);
                  with gradient checkpointing: tokens of a batch x (layers x w h + layer + backward), because only the
                  input of each layer is kept, and one layer at a time is computed again;
                  plus 2 bytes per trained float32 parameter where the arithmetic is in 16 bits: autocast keeps copies

The numbers are fitted to what is alive while small models of Llama's, Qwen's and Gemma's families compute, which a test
measures again. The estimate leaves out the workspace of the kernels and fragmentation. TRL computes the logits in
tiles, so they do not count. `training.json` keeps the estimate beside the measured peak.
"""

from __future__ import annotations

import resource
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from selfinstruct.engines.model_facts import experts, without_weights
from selfinstruct.run.training_record import Finding
from selfinstruct.text import GIB, size_text
from tuning.training.zero3 import whole_models

_STATELESS_OPTIMIZERS = ("sgd", "adafactor", "lomo", "adalomo")
_BYTES_OF_QUANTIZED_WEIGHT = {4: 0.55, 8: 1.05}


@dataclass(frozen=True, slots=True)
class ModelSize:
    """The sizes of a model that decide about memory.

    Attributes:
        parameters: all, an adapter's included.
        trained: parameters that are trained.
        quantized: those of `parameters` that are held in 4 or 8 bits.
        layers: of the decoder.
        heads: attention heads (of the queries).
        hidden: width of the residual stream.
        feed_forward: width inside the feed-forward part; of a mixture of experts, of all that one token uses.
        queries: width of the queries of all heads.
        keys: width of the keys of all heads, and of the values.
        norms: widths of a layer's norms together.
        routed: experts that one token uses; 0: not a mixture of experts.
        dropped: widths of those inputs of a layer's matrices together before which an adapter has a dropout.
    """

    parameters: int
    trained: int
    quantized: int
    layers: int
    heads: int
    hidden: int
    feed_forward: int
    queries: int
    keys: int
    norms: int
    routed: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class MemorySettings:
    """The settings of a training that decide about memory.

    Attributes:
        weight_bytes: of a weight as it is loaded.
        trained_bytes: of a weight that is trained.
        compute_bytes: of a number in the arithmetic.
        optim: the optimizer, by TRL's name.
        tokens: in a batch on one device.
        longest: tokens of the longest sequence.
        checkpointing: gradient checkpointing is on.
        bits: 4 or 8 where weights are quantized.
        eager: attention keeps its scores.
        shards: processes that share weights, gradients and optimizer states.
        offloaded: some of these may be kept outside the GPU.
        cuda: the device is a GPU; else it is the machine's memory.
    """

    weight_bytes: int
    trained_bytes: int
    compute_bytes: int
    optim: str
    tokens: int
    longest: int
    checkpointing: bool
    cuda: bool
    bits: int | None = None
    eager: bool = False
    shards: int = 1
    offloaded: bool = False


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes on one device, by what takes them."""

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """Return the sum of all."""
        return self.known + self.activations

    @property
    def known(self) -> int:
        """Return what is not estimated; a smaller batch or shorter sequences do not change it."""
        return self.weights + self.gradients + self.optimizer

    def __str__(self) -> str:
        if self.total < GIB / 10:
            return f"about {size_text(self.total)}"
        parts = ", ".join(f"{name} {size / GIB:.1f}" for name, size in asdict(self).items() if size >= 0.05 * GIB)
        return f"about {self.total / GIB:.1f} GiB ({parts})"


def estimate(size: ModelSize, settings: MemorySettings) -> Estimate:
    """Compute the formulas above."""
    quantized = _BYTES_OF_QUANTIZED_WEIGHT[settings.bits] if settings.bits else 0.0
    frozen = size.parameters - size.trained - size.quantized
    copies = 2 * size.trained if settings.trained_bytes == 4 and settings.compute_bytes == 2 else 0
    weights = size.trained * settings.trained_bytes + frozen * settings.weight_bytes + size.quantized * quantized
    return Estimate(
        weights=round(weights / settings.shards),
        gradients=size.trained * settings.trained_bytes // settings.shards,
        optimizer=size.trained * _state_bytes(settings.optim, settings.trained_bytes) // settings.shards,
        activations=settings.tokens * _activation_bytes_per_token(size, settings) + copies // settings.shards,
    )


def _state_bytes(optim: str, trained_bytes: int) -> int:
    """Return the bytes of optimizer states per trained parameter; an unknown optimizer counts as Adam."""
    if optim.startswith(_STATELESS_OPTIMIZERS):
        return 0
    return 2 if "8bit" in optim else 2 * trained_bytes


def _activation_bytes_per_token(size: ModelSize, settings: MemorySettings) -> int:
    computed, weight = settings.compute_bytes, settings.weight_bytes
    norm = 4 + 2 * weight
    layer = computed * (4 * size.feed_forward + 2 * size.queries + 2 * size.keys) + norm * size.norms
    layer += 2 * computed * size.routed * size.hidden + size.dropped * (1 if settings.cuda else 4)
    if settings.eager:
        layer += round(computed * 2.5 * size.heads * settings.longest)
    if size.trained < size.parameters and computed == 2:
        backward = (10 if size.dropped else 6) * size.feed_forward + 14 * size.hidden
    else:
        backward = 2 * computed * size.feed_forward + (4 + computed) * size.hidden
    backward += computed * size.routed * size.hidden
    if settings.checkpointing:
        return size.layers * size.hidden * weight + layer + backward
    return size.layers * layer + backward + (computed + norm) * size.hidden


def check_memory(needed: Estimate, settings: MemorySettings, free: int, total: int) -> list[Finding]:
    """Check that the training fits.

    Args:
        needed: by the training.
        settings: of the training.
        free: bytes of the device that are free now.
        total: bytes of the device.
    """
    device = "GPU" if settings.cuda else "machine"
    message = f"the training takes {needed}, and the {device} has {size_text(free)} free of {size_text(total)}"
    if settings.cuda and not settings.offloaded and needed.known > total:
        return [Finding("memory", f"{message}: its weights and optimizer alone do not fit; {_REMEDY}", fatal=True)]
    if needed.total > free:
        return [Finding("memory", f"{message}; if it fails, {_REMEDY}")]
    return []


_REMEDY = (
    "tune with --use_peft (and --load_in_4bit), lower --per_device_train_batch_size or --max_length, give "
    "--gradient_checkpointing true or --optim adamw_bnb_8bit, or share the model between GPUs (FSDP, DeepSpeed)"
)


def model_size(
    config: Any, peft_config: Any = None, *, quantized: bool = False, trust_remote_code: bool = False
) -> ModelSize:
    """Return the sizes of the model that a configuration describes, without memory for its weights.

    Args:
        config: a transformers configuration.
        peft_config: of the adapter, or None where every parameter is trained.
        quantized: linear layers other than the output layer are held in 4 or 8 bits.
        trust_remote_code: as the model is loaded.
    """
    import torch
    from peft import get_peft_model

    with whole_models():
        model = without_weights(config, trust_remote_code=trust_remote_code)
    output = model.get_output_embeddings()
    linear = sum(
        module.weight.numel()
        for module in model.modules()
        if isinstance(module, torch.nn.Linear) and module is not output
    )
    text = config.get_text_config()
    layers, hidden, heads = text.num_hidden_layers, text.hidden_size, text.num_attention_heads
    head_size = getattr(text, "head_dim", None) or hidden // heads
    queries, keys = heads * head_size, (getattr(text, "num_key_value_heads", None) or heads) * head_size
    norms = _widths_of_norms(model, {"q": queries, "k": keys}, hidden)
    if peft_config is not None:
        with torch.device("meta"):
            model = get_peft_model(model, peft_config)
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return ModelSize(
        parameters=sum(n for n, _ in sizes),
        trained=sum(n for n, trained in sizes if trained),
        quantized=linear if quantized else 0,
        layers=layers,
        heads=heads,
        hidden=hidden,
        feed_forward=_feed_forward(text, hidden),
        queries=queries,
        keys=keys,
        norms=round(norms / layers),
        routed=_routed(text),
        dropped=round(sum(map(_dropped, model.modules())) / layers),
    )


def _widths_of_norms(model: Any, of_heads: Mapping[str, int], hidden: int) -> int:
    """Return the widths of all norms of the layers together; the norms of queries and keys are named so."""
    norms = [name.rpartition(".") for name, module in model.named_modules() if "norm" in type(module).__name__.lower()]
    return sum(of_heads.get(name[0], hidden) for parent, _, name in norms if any(map(str.isdecimal, parent.split("."))))


def _feed_forward(text: Any, hidden: int) -> int:
    """Return the width of the feed-forward part for one token; four times the hidden size where it is not said."""
    width = getattr(text, "intermediate_size", None) or getattr(text, "ffn_dim", None) or 4 * hidden
    if not _routed(text):
        return int(width)
    shared = getattr(text, "shared_expert_intermediate_size", None) or 0
    return int(_routed(text) * (getattr(text, "moe_intermediate_size", None) or width) + shared)


def _routed(text: Any) -> int:
    """Return the experts that one token uses; 0 where the model is not a mixture of experts."""
    return int(getattr(text, "num_experts_per_tok", None) or 1) if experts(text) > 1 else 0


def _dropped(module: Any) -> int:
    """Return the width of what a matrix with an adapter gets, if its adapter has a dropout."""
    dropouts = getattr(module, "lora_dropout", {})
    return int(module.in_features) if any(getattr(dropout, "p", 0) > 0 for dropout in dropouts.values()) else 0


def device_memory(device: Any) -> tuple[int, int]:
    """Return (free, total) bytes of the GPU, or of the machine where the training runs on the CPU."""
    import psutil
    import torch

    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)
    memory = psutil.virtual_memory()
    return memory.available, memory.total


def peak_memory(device: Any) -> int:
    """Return the most bytes that this process has had at once, of the GPU or of the machine."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
