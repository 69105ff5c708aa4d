"""The choice of a training's method: the first that fits into the GPUs' memory.

    full                 every weight, in float32
    full, shared         the same; FSDP2 divides weights, gradients and optimizer states among the GPUs
    LoRA                 an adapter; the model's own weights are frozen, in bfloat16
    LoRA, shared
    QLoRA                an adapter; the frozen weights are in 4 bits, by bitsandbytes

A method fits if its estimate (`memory.py`) takes at most `SHARE` of each GPU. Where none fits so well, the last one is
taken if its estimate is below the whole memory, else the training is refused. What the user gives narrows the choice:
`use_peft` and `load_in_4bit` the methods, `per_device_train_batch_size` the batch. Who shares the model himself, by
`fsdp`, `deepspeed` or a file of accelerate, gets full fine-tuning unless he gives `use_peft`: such a file may also move
weights out of the GPU, so no estimate speaks against it.

The batch of a step is `STEP_ROWS` rows (with packing: blocks), whatever the number of GPUs: what is learnt does not
depend on it. It is taken in as few parts as memory allows.

`choose` is pure: it takes the model's sizes and the GPUs' as numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from selfinstruct.engines.model_facts import facts_of_config
from selfinstruct.errors import ConfigError
from selfinstruct.text import size_text
from tuning.training import memory
from tuning.training.launch import STEP_ROWS
from tuning.training.memory import Estimate, MemorySettings, ModelSize

SHARE = 0.8
"""Share of a GPU that an estimate may take: kernels need workspace, and memory gets fragmented."""

_MAX_LENGTH = 1024
"""TRL's default of `max_length`."""
_OPTIMIZER = "adamw_torch_fused"
"""TRL's default of `optim`."""

LORA: Mapping[str, Any] = {"use_peft": True, "lora_target_modules": ["all-linear"]}
OF_EXPERTS: Mapping[str, Any] = {"lora_dropout": 0.0}
"""For an adapter of a mixture of experts: PEFT can drop nothing out before experts that are stored as one tensor."""

Name = Literal["full", "lora", "qlora"]


@dataclass(frozen=True, slots=True)
class Device:
    """Where a training runs, as far as its defaults depend on it.

    Attributes:
        cuda: on GPUs.
        bf16: they compute in bfloat16.
        memory: bytes of each GPU; 0: not known, and no method is chosen.
        processes: of the training, one per GPU.
        shared: the launcher shares the model between the processes, as the user's file of accelerate says.
        bitsandbytes: it is installed.
        varlen_attention: a kernel is installed that computes packed documents one by one (flash-attn).
    """

    cuda: bool
    bf16: bool
    memory: int = 0
    processes: int = 1
    shared: bool = False
    bitsandbytes: bool = False
    varlen_attention: bool = False


@dataclass(frozen=True, slots=True)
class Sizes:
    """A model's sizes under each method.

    Attributes:
        full: with every weight trained.
        lora: with the adapter.
        linear: weights that are held in 4 bits under QLoRA.
        stored_bytes: of a weight in the model's files.
        context: most tokens of a sequence; None: not known.
        quantization: how the weights in the model's files are quantized; such weights cannot be trained.
        moe: it is a mixture of experts.
    """

    full: ModelSize
    lora: ModelSize
    linear: int
    stored_bytes: int = 2
    context: int | None = None
    quantization: str | None = None
    moe: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen method.

    Attributes:
        name: of the method.
        shared: FSDP2 divides the model among the processes.
        reason: why it was chosen: a sentence.
        needed: bytes on each GPU.
        trained: parameters that are trained.
        arguments: the defaults of the training that follow.
    """

    name: Name
    shared: bool = False
    reason: str = ""
    needed: Estimate | None = None
    trained: int = 0
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> dict[str, Any]:
        """Return what of it changes the weights, or the checkpoints; nothing for plain full fine-tuning."""
        kept = {name: value for name, value in self.arguments.items() if name in ("use_peft", "load_in_4bit")}
        return kept | ({"shared": True} if self.shared else {})


@dataclass(frozen=True, slots=True)
class _Candidate:
    name: Name
    shared: bool
    needed: Estimate
    batch: tuple[int, int]

    def __str__(self) -> str:
        title = {"full": "full fine-tuning", "lora": "LoRA", "qlora": "QLoRA in 4 bits"}[self.name]
        return f"{title} shared between the GPUs" if self.shared else title


def sizes_of(config: Any, adapter: Mapping[str, Any], *, trust_remote_code: bool = False) -> Sizes:
    """Return the sizes of the model that a configuration describes, without memory for its weights.

    Args:
        config: a transformers configuration.
        adapter: arguments of TRL's `ModelConfig` that describe the adapter.
        trust_remote_code: as the model is loaded.
    """
    from trl import ModelConfig, get_peft_config

    stored = facts_of_config(config, name="")
    peft_config = get_peft_config(ModelConfig(**{**LORA, **(OF_EXPERTS if stored.moe else {}), **adapter}))
    lora = memory.model_size(config, peft_config, quantized=True, trust_remote_code=trust_remote_code)
    return Sizes(
        full=memory.model_size(config, trust_remote_code=trust_remote_code),
        lora=replace(lora, quantized=0),
        linear=lora.quantized,
        stored_bytes=4 if stored.dtype == "float32" else 2,
        context=stored.context_length,
        quantization=stored.quantization,
        moe=stored.moe,
    )


def choose(sizes: Sizes, by_user: Mapping[str, Any], device: Device) -> Choice:
    """Choose the method of a training on GPUs.

    Args:
        sizes: of the model.
        by_user: the arguments that the user gave.
        device: where the training runs.

    Raises:
        ConfigError: no method that the user allows fits.
    """
    if _shared_by_user(by_user, device):
        return _as_the_user_shares_it(sizes, by_user, device)
    candidates = [_fitted(name, shared, sizes, by_user, device) for name, shared in _allowed(sizes, by_user, device)]
    fitting = [c for c in candidates if c.needed.total <= SHARE * device.memory]
    chosen = fitting[0] if fitting else candidates[-1]
    if not fitting and chosen.needed.total > device.memory:
        raise ConfigError(_refusal(candidates, sizes, by_user, device))
    before = candidates[: candidates.index(chosen)]
    each = "each GPU's" if device.processes > 1 else "the GPU's"
    reason = f"{chosen}: {chosen.needed} of {each} {size_text(device.memory)}"
    if before:
        reason += "; " + ", ".join(f"{c} would take {size_text(c.needed.total)}" for c in before)
    if chosen.name != "full" and sizes.quantization:
        reason += f"; the model's weights are quantized ({sizes.quantization}) and cannot be trained themselves"
    return Choice(
        chosen.name,
        chosen.shared,
        reason,
        chosen.needed,
        _size(chosen.name, sizes).trained,
        _arguments(chosen, sizes, by_user),
    )


def _as_the_user_shares_it(sizes: Sizes, by_user: Mapping[str, Any], device: Device) -> Choice:
    name: Name = "full"
    if by_user.get("use_peft"):
        name = "qlora" if _quantizes(by_user) else "lora"
    chosen = _fitted(name, True, sizes, by_user, device)
    reason, trained = f"{chosen}, as you set it up", _size(name, sizes).trained
    return Choice(name, False, reason, chosen.needed, trained, _arguments(chosen, sizes, by_user))


def _allowed(sizes: Sizes, by_user: Mapping[str, Any], device: Device) -> Iterator[tuple[Name, bool]]:
    """Yield the methods that the user allows, as (name, whether the model is shared), the most thorough one first."""
    quantized, peft = _quantizes(by_user), by_user.get("use_peft")
    ways = [False, True] if device.processes > 1 else [False]
    if not peft and not quantized and (sizes.quantization is None or peft is False):
        yield from (("full", shared) for shared in ways)
    if peft is False:
        return
    if not quantized:
        yield from (("lora", shared) for shared in ways)
    if quantized or (device.bitsandbytes and sizes.quantization is None and "load_in_4bit" not in by_user):
        yield "qlora", False


def _quantizes(by_user: Mapping[str, Any]) -> bool:
    return bool(by_user.get("load_in_4bit") or by_user.get("load_in_8bit"))


def _shared_by_user(by_user: Mapping[str, Any], device: Device) -> bool:
    return device.shared or bool(by_user.get("fsdp") or by_user.get("deepspeed"))


def _fitted(name: Name, shared: bool, sizes: Sizes, by_user: Mapping[str, Any], device: Device) -> _Candidate:
    """Return a method with the largest batch with which it fits, or with the smallest there is."""
    parts = list(_batches(by_user, device))
    for batch in parts:
        needed = memory.estimate(_size(name, sizes), _settings(name, shared, batch[0], sizes, by_user, device))
        if needed.total <= SHARE * device.memory:
            break
    return _Candidate(name, shared, needed, batch)


def largest_batch(by_user: Mapping[str, Any], device: Device) -> tuple[int, int]:
    """Return how a step's rows are taken where nothing is known of memory: (rows of a process at once, times)."""
    return next(_batches(by_user, device))


def _batches(by_user: Mapping[str, Any], device: Device) -> Iterator[tuple[int, int]]:
    """Yield the ways to take a step's rows, as (rows of a process at once, times), the largest batch first.

    A kernel that knows no documents computes the attention of all packed blocks of a batch with each other, and then
    masks it: there blocks are taken one by one.
    """
    wanted = by_user.get("per_device_train_batch_size"), by_user.get("gradient_accumulation_steps")
    if wanted != (None, None):  # As TRL reads it: for each process.
        yield int(wanted[0] or STEP_ROWS), int(wanted[1] or 1)
        return
    share = max(1, round(STEP_ROWS / device.processes))
    if _shared_by_user(by_user, device):
        yield share, 1  # A file of DeepSpeed's says how often gradients accumulate, by default once.
        return
    together = device.varlen_attention or not by_user.get("packing")
    for rows in range(share if together else 1, 0, -1):
        if share % rows == 0:
            yield rows, share // rows


def _size(name: Name, sizes: Sizes) -> ModelSize:
    if name == "full":
        return sizes.full
    return sizes.lora if name == "lora" else replace(sizes.lora, quantized=sizes.linear)


def _settings(
    name: Name, shared: bool, rows: int, sizes: Sizes, by_user: Mapping[str, Any], device: Device
) -> MemorySettings:
    half = device.bf16 and not by_user.get("fp16")
    dtype = by_user.get("dtype") or ("bfloat16" if half and name != "full" else "float32")
    weight_bytes = {"float32": 4, "auto": sizes.stored_bytes}.get(str(dtype), 2)
    trained_bytes = {"full": weight_bytes, "lora": 4, "qlora": 2}[name]  # as PEFT and TRL keep adapters
    length = by_user.get("max_length", _MAX_LENGTH) or sizes.context or _MAX_LENGTH
    longest = min(int(length), sizes.context or int(length))
    computes_in_half = by_user.get("fp16") or by_user.get("bf16", device.bf16)
    return MemorySettings(
        weight_bytes=weight_bytes,
        trained_bytes=trained_bytes,
        compute_bytes=2 if computes_in_half or weight_bytes == 2 else 4,
        optim=str(by_user.get("optim") or _OPTIMIZER),
        tokens=rows * longest,
        longest=longest,
        checkpointing=bool(by_user.get("gradient_checkpointing", True)),
        cuda=True,
        bits=None if name != "qlora" else 8 if by_user.get("load_in_8bit") else 4,
        eager=by_user.get("attn_implementation") == "eager",
        shards=device.processes if shared else 1,
        offloaded=_shared_by_user(by_user, device),
    )


def _arguments(chosen: _Candidate, sizes: Sizes, by_user: Mapping[str, Any]) -> dict[str, Any]:
    """Return the defaults that follow from a method; what the user gives replaces them."""
    rows, times = chosen.batch
    arguments: dict[str, Any] = {"per_device_train_batch_size": rows, "gradient_accumulation_steps": times}
    # An evaluation keeps no activations, but the attention of packed blocks is as large.
    arguments["per_device_eval_batch_size"] = min(rows, STEP_ROWS)
    if chosen.name != "full":
        arguments |= {"use_peft": True, **(OF_EXPERTS if sizes.moe else {})}
    if chosen.name == "qlora" and not by_user.get("load_in_8bit"):
        arguments["load_in_4bit"] = True
    return arguments


def _refusal(candidates: list[_Candidate], sizes: Sizes, by_user: Mapping[str, Any], device: Device) -> str:
    last = candidates[-1]
    gpus = f"{device.processes} GPUs have" if device.processes > 1 else "the GPU has"
    message = f"the training does not fit: {last} takes {last.needed}, and {gpus} {size_text(device.memory)}"
    message += " each" if device.processes > 1 else ""
    remedies = []
    if last.name == "full" and sizes.quantization is None and "use_peft" in by_user:
        remedies.append("leave out `use_peft: false`, so that LoRA can be chosen")
    if last.name == "lora" and not device.bitsandbytes and sizes.quantization is None:
        remedies.append("install bitsandbytes for QLoRA, which holds the weights in 4 bits")
    if last.needed.known < device.memory:  # Else no batch and no length is small enough.
        batch = int(by_user.get("per_device_train_batch_size") or 1) > 1
        remedies += [*(["lower `per_device_train_batch_size`"] if batch else []), "lower `max_length`"]
    remedies.append("tune a smaller model, or use more GPUs")
    return f"{message}; {', or '.join(remedies)}"
