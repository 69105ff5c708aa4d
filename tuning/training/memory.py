"""Whether a training fits into memory: bytes on one device.

Known from the model and the arguments:

    weights       parameters x bytes of their precision; 0.55 (4 bit) or 1.05 (8 bit) where they are quantized
    gradients     trained parameters x bytes of their precision
    optimizer     trained parameters x bytes of its states: Adam has two as precise as the weight, 8-bit Adam two of one
                  byte, SGD none

FSDP and ZeRO-3 divide these by the number of processes. Estimated, after Korthikanti et al. 2022 (arXiv 2205.05198,
equation 1): what a transformer layer keeps for its backward pass. With h = hidden size, a = attention heads, s =
longest sequence, c = bytes of the arithmetic (the paper's 34 and 5 are for c = 2):

    layer = c (17 h + 2.5 a s)       bytes per token; the second term, the attention scores, with eager attention alone

    activations   tokens of a batch x layers x layer;
                  with gradient checkpointing: tokens of a batch x (layers x h x bytes of a weight + layer), because
                  only the input of each layer is kept, and one layer at a time is computed again;
                  plus 2 bytes per trained float32 parameter where the arithmetic is in 16 bits: autocast keeps copies

The estimate leaves out the workspace of the kernels and fragmentation. TRL computes the logits in tiles, so they do not
count. `training.json` keeps the estimate beside the measured peak.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

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
        hidden: width of the residual stream.
        heads: attention heads (of the queries).
    """

    parameters: int
    trained: int
    quantized: int
    layers: int
    hidden: int
    heads: int


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
    scores = 2.5 * size.heads * settings.longest if settings.eager else 0
    layer = round(settings.compute_bytes * (17 * size.hidden + scores))
    if settings.checkpointing:
        return size.layers * size.hidden * settings.weight_bytes + layer
    return size.layers * layer


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
    return ModelSize(
        parameters=sum(n for n, _ in sizes),
        trained=sum(n for n, trained in sizes if trained),
        quantized=linear if quantized else 0,
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        heads=text.num_attention_heads,
    )


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
    import resource

    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
