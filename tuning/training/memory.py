"""How much memory a training takes, before it takes it.

Bytes on one device, to within a fifth or so:

    weights       parameters x bytes of their precision; 0.55 (4 bit) or 1.05 (8 bit) where they are quantized
    gradients     trained parameters x bytes of their precision
    optimizer     trained parameters x bytes of its states: Adam has two as precise as the weight, 8-bit Adam two of a
                  byte, SGD none
    casts         trained float32 parameters x 2, where the arithmetic is in 16 bits (autocast keeps copies)
    activations   tokens of a batch x bytes per token
    overhead      the driver's context, the kernels' workspace, the tiles of TRL's fused output layer, fragmentation

Under FSDP and ZeRO-3 the first four are divided by the number of processes. A layer of Llama's kind keeps per token for
its backward pass, with h = hidden size, i = intermediate size (of the experts a token visits), k = width of the keys,
w = bytes of a weight, c = bytes of the arithmetic:

    layer = 2 norms x h (2 x 4 + c)  +  c (2 h + 2 k)  +  4 c i          the last two: attention, and the gated MLP
          + heads x longest sequence x (4 + c)                           with eager attention alone

    without checkpointing   layers x layer
    with checkpointing      layers x h w  +  2 x layer                   one layer is computed again, with its gradients

The attention kernels other than eager keep no scores. TRL's output layer works in tiles, so that logits do not count.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tuning.training.findings import Finding
from tuning.training.zero3 import whole_models

GIB = 2**30
_OVERHEAD = {"cuda": 1.5 * GIB, "cpu": GIB}
_NO_STATES = ("sgd", "adafactor", "lomo", "adalomo")
_BYTES_OF_PART = {4: 0.55, 8: 1.05}


@dataclass(frozen=True)
class Shape:
    """What of a model decides.

    Attributes:
        parameters: all, those of an adapter included.
        trained: parameters that are learnt.
        quantized: parameters held in 4 or 8 bits, out of all.
        layers: of the decoder.
        hidden: width h of the residual stream.
        intermediate: width i of the MLP, summed over the experts that a token visits.
        keys: width k of the keys, all heads together.
        heads: of the queries.
    """

    parameters: int
    trained: int
    quantized: int
    layers: int
    hidden: int
    intermediate: int
    keys: int
    heads: int


@dataclass(frozen=True)
class Plan:
    """What of the arguments decides.

    Attributes:
        weight_bytes: of a weight as it is loaded.
        trained_bytes: of a weight that is learnt.
        compute_bytes: of the arithmetic.
        bits: 4 or 8 where weights are quantized.
        optim: the optimizer, by TRL's name.
        tokens: of a batch on one device.
        longest: tokens of the longest sequence.
        checkpointing: activations are computed again rather than kept.
        eager: attention keeps its scores.
        shards: processes that share weights, gradients and optimizer states.
        offloaded: parts of these are kept elsewhere.
        device: `cuda` or `cpu`.
    """

    weight_bytes: int
    trained_bytes: int
    compute_bytes: int
    optim: str
    tokens: int
    longest: int
    checkpointing: bool
    device: str
    bits: int | None = None
    eager: bool = False
    shards: int = 1
    offloaded: bool = False


@dataclass(frozen=True)
class Estimate:
    """Bytes on one device, by what takes them."""

    weights: int
    gradients: int
    optimizer: int
    casts: int
    activations: int
    overhead: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(asdict(self).values())

    @property
    def certain(self) -> int:
        """What no smaller batch and no shorter sequence makes less."""
        return self.weights + self.gradients + self.optimizer

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {size / GIB:.1f}" for name, size in asdict(self).items() if size >= 0.05 * GIB)
        return f"about {self.total / GIB:.1f} GiB ({parts})"


def estimate(shape: Shape, plan: Plan) -> Estimate:
    """The formula above."""
    part = _BYTES_OF_PART[plan.bits] if plan.bits else 0.0
    frozen = shape.parameters - shape.trained - shape.quantized
    weights = shape.trained * plan.trained_bytes + frozen * plan.weight_bytes + shape.quantized * part
    cast = 2 * shape.trained if plan.trained_bytes == 4 and plan.compute_bytes == 2 else 0
    return Estimate(
        weights=round(weights / plan.shards),
        gradients=shape.trained * plan.trained_bytes // plan.shards,
        optimizer=round(shape.trained * _state_bytes(plan.optim, plan.trained_bytes) / plan.shards),
        casts=cast // plan.shards,
        activations=plan.tokens * _per_token(shape, plan),
        overhead=round(_OVERHEAD[plan.device]),
    )


def _state_bytes(optim: str, trained_bytes: int) -> float:
    """Bytes of optimizer states per parameter; an optimizer that is not known here counts as Adam."""
    if optim.startswith(_NO_STATES):
        return 0.0
    return 2.0 if "8bit" in optim else 2.0 * trained_bytes


def _per_token(shape: Shape, plan: Plan) -> int:
    h, c = shape.hidden, plan.compute_bytes
    layer = 2 * h * (8 + c) + c * (2 * h + 2 * shape.keys) + 4 * c * shape.intermediate
    if plan.eager:
        layer += shape.heads * plan.longest * (4 + c)
    if plan.checkpointing:
        return shape.layers * h * plan.weight_bytes + 2 * layer
    return shape.layers * layer


def finding(found: Estimate, plan: Plan, free: int, total: int) -> list[Finding]:
    """Whether it fits.

    Args:
        found: what is needed.
        plan: what it is needed for.
        free: bytes that the device has left now.
        total: bytes that the device has.
    """
    where = "GPU" if plan.device == "cuda" else "machine"
    message = f"the training takes {found}, and the {where} has {free / GIB:.1f} GiB free of {total / GIB:.1f}"
    if plan.device == "cuda" and not plan.offloaded and found.certain > total:
        return [Finding("memory", f"{message}: its weights and optimizer alone do not fit; {_LESS}", fatal=True)]
    if found.total > free:
        return [Finding("memory", f"{message}; if it fails, {_LESS}")]
    return []


_LESS = (
    "tune with --use_peft (and --load_in_4bit), lower --per_device_train_batch_size or --max_length, give "
    "--gradient_checkpointing true or --optim adamw_bnb_8bit, or share the model between GPUs (FSDP, DeepSpeed)"
)


def shape_of(
    config: Any, peft_config: Any = None, *, quantized: bool = False, trust_remote_code: bool = False
) -> Shape:
    """The shape of the model that a configuration describes; nothing is allocated for it.

    Args:
        config: a transformers configuration.
        peft_config: of the adapter, or None where every parameter is trained.
        quantized: linear layers other than the output layer are held in 4 or 8 bits.
        trust_remote_code: as the model is loaded.
    """
    import torch
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    with whole_models(), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
        output = model.get_output_embeddings()
        linear = sum(
            module.weight.numel()
            for module in model.modules()
            if isinstance(module, torch.nn.Linear) and module is not output
        )
        if peft_config is not None:
            model = get_peft_model(model, peft_config)
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    text = config.get_text_config()
    heads = text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // heads
    experts = getattr(text, "num_experts_per_tok", None) or 1
    of_expert = getattr(text, "moe_intermediate_size", None) or getattr(text, "intermediate_size", 4 * text.hidden_size)
    return Shape(
        parameters=sum(n for n, _ in sizes),
        trained=sum(n for n, trained in sizes if trained),
        quantized=linear if quantized else 0,
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=experts * of_expert,
        keys=(getattr(text, "num_key_value_heads", None) or heads) * width,
        heads=heads,
    )


def of_machine(device: Any) -> tuple[int, int]:
    """Bytes that are free now, and bytes in all: of the GPU, else of the machine."""
    import psutil
    import torch

    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)
    memory = psutil.virtual_memory()
    return memory.available, memory.total


def peak(device: Any) -> int:
    """Bytes that this process has had at once: of the GPU, else of the machine."""
    import resource

    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
