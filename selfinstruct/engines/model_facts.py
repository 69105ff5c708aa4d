"""What is known of a model before it is loaded: its size, its shape, and what kind of model it is.

Preflight, the engine's parallelism and its context read it here. The tuner measures the same module with its adapter
(`tuning/training/memory.py`).
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfinstruct.engines import foreign_code, hub
from selfinstruct.engines.models import resolve_model, with_weights
from selfinstruct.errors import ConfigError

_EXPERTS = "num_local_experts num_experts n_routed_experts moe_num_experts"
_LENGTHS = "max_position_embeddings n_positions max_seq_len seq_length max_sequence_length max_target_positions"
_PRESCALED_ROPE = ("su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling", "mrope")


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model's files say.

    Attributes:
        name: path or name on the Hub, as vLLM and transformers load it; of an adapter, its base model's.
        revision: on the Hub; None: its main one.
        architecture: class of the model (`Qwen3ForCausalLM`).
        weight_bytes: size of the weights on disk; from the configuration where there are none.
        parameters: how many; experts that a token does not use are counted too.
        dtype: of the weights as published (`bfloat16`).
        quantization: method of the weights as published (`mxfp4`, `fp8`); None: they are not quantized.
        layers: of the decoder.
        hidden: width of the residual stream.
        heads: attention heads (of the queries).
        kv_heads: attention heads of keys and values.
        kv_bytes_per_token: of the cache in 16 bits, over all layers with attention.
        context_length: tokens of prompt and answer; None where only vLLM can know.
        experts: of each layer; 0: not a mixture of experts.
        experts_per_token: of these, those that one token uses.
        vision: it reads images too, with weights of its own for them.
    """

    name: str
    revision: str | None
    architecture: str
    weight_bytes: int
    parameters: int
    dtype: str
    quantization: str | None
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    kv_bytes_per_token: int
    context_length: int | None
    experts: int = 0
    experts_per_token: int = 0
    vision: bool = False

    @property
    def moe(self) -> bool:
        """Return whether it is a mixture of experts."""
        return self.experts > 1

    def loaded_bytes(self, dtype: str = "auto") -> int:
        """Return the size of the weights as vLLM holds them; `auto` loads float32 in 16 bits.

        Args:
            dtype: vLLM's argument.
        """
        if self.quantization or not self.parameters:
            return self.weight_bytes
        return self.parameters * (4 if dtype in ("float32", "float") else 2)


@functools.cache
def model_facts(model: str, revision: str | None = None, *, trust_remote_code: bool = False) -> ModelFacts:
    """Return what is known of a model. Fetch its configuration if it is not on this machine, but not its weights.

    Args:
        model: its name in the configuration: a folder, an adapter, a name on the Hub, or the demo model.
        revision: on the Hub; default: its main one.
        trust_remote_code: whether code of the model's own may run.

    Raises:
        ConfigError: there is no such model, or it is not on this machine and the Hub cannot be reached.
    """
    name, revision = with_weights(resolve_model(model), revision)
    if hub.is_modelscope() and not hub.is_local(name):
        from transformers import PreTrainedConfig

        return facts_of_config(PreTrainedConfig(), name=name, revision=revision)
    folder = hub.small_files(name, revision)
    files = hub.weights_here(folder)
    listing = None
    if not files and not hub.is_local(name):
        listing = hub.listing(name, revision)
        files = {file: listing.sizes[file] for file in hub.weight_files(listing.sizes)}
    numbers = listing.numbers if listing else _numbers(folder, files)
    config = read_config(str(folder), trust_remote_code=trust_remote_code)
    return facts_of_config(config, name=name, revision=revision, weight_bytes=sum(files.values()), numbers=numbers)


def read_config(model: str, revision: str | None = None, *, trust_remote_code: bool = False) -> Any:
    """Return a model's configuration as transformers reads it; of an architecture it does not know, the bare values.

    Args:
        model: as for `model_facts`.
        revision: likewise.
        trust_remote_code: likewise.

    Raises:
        ConfigError: there is no such model, its configuration cannot be read, or it would run code of the model's.
    """
    from transformers import AutoConfig, PreTrainedConfig

    folder = hub.small_files(resolve_model(model), revision)
    try:
        with foreign_code.refused(model):
            return AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except ConfigError:
        raise
    except Exception:  # noqa: BLE001 - on values of a wrong type transformers may raise anything
        try:
            return PreTrainedConfig(**json.loads((folder / "config.json").read_text(encoding="utf-8")))
        except Exception as unreadable:  # likewise
            reason = " ".join(str(unreadable).split())
            raise ConfigError(f"model {model!r}: its config.json cannot be read: {reason:.300}") from unreadable


def facts_of_config(
    config: Any,
    *,
    name: str,
    revision: str | None = None,
    weight_bytes: int = 0,
    numbers: Mapping[str, int] | None = None,
) -> ModelFacts:
    """Return what a configuration and the sizes of the weights say.

    Args:
        config: a transformers configuration.
        name: of the model.
        revision: on the Hub.
        weight_bytes: size of the weights; 0: not known.
        numbers: how many numbers its safetensors hold, by type; empty: not known.
    """
    text = config.get_text_config()
    quantization = quantization_of(config)
    parameters = sum((numbers or {}).values()) if numbers and not quantization else count_parameters(config)
    dtype = _dtype(config, numbers)
    heads = _first(text, "num_attention_heads", "n_head", "n_heads")
    return ModelFacts(
        name=name,
        revision=revision,
        architecture=(getattr(config, "architectures", None) or ["unknown"])[0],
        weight_bytes=weight_bytes or _bytes_of(parameters, dtype, quantization),
        parameters=parameters,
        dtype=dtype,
        quantization=quantization,
        layers=_first(text, "num_hidden_layers", "n_layer", "n_layers"),
        hidden=_first(text, "hidden_size", "n_embd", "d_model"),
        heads=heads,
        kv_heads=_first(text, "num_key_value_heads") or heads,
        kv_bytes_per_token=_kv_bytes(text),
        context_length=context_length(config),
        experts=experts(config),
        experts_per_token=_first(text, "num_experts_per_tok", "num_experts_per_token"),
        vision=getattr(config, "vision_config", None) is not None,
    )


def count_parameters(config: Any) -> int:
    """Return the number of parameters of the model that a configuration describes; 0 if transformers has none such."""
    try:
        return sum(parameter.numel() for parameter in without_weights(config).parameters())
    except (ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError, NotImplementedError):
        return 0


def without_weights(config: Any, *, trust_remote_code: bool = False) -> Any:
    """Return the transformers model that a configuration describes, on the meta device: its weights take no memory.

    Args:
        config: a transformers configuration.
        trust_remote_code: whether code of the model's own may run.

    Raises:
        Exception: whatever transformers raises where it has no such model.
    """
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)


def experts(config: Any) -> int:
    """Return the number of experts of each layer; 0 where the model is not a mixture of experts."""
    return _first(config.get_text_config(), *_EXPERTS.split())


def context_length(config: Any) -> int | None:
    """Return the tokens of prompt and answer, as vLLM derives them; None where only vLLM can know."""
    text = config.get_text_config()
    known = [length for name in _LENGTHS.split() if (length := _first(text, name)) > 0]
    scaling = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
    kind = scaling.get("rope_type") or scaling.get("type") or "default"
    # vLLM multiplies positions by the factor of other kinds.
    return None if not known or (kind not in _PRESCALED_ROPE and (scaling.get("factor") or 1) != 1) else min(known)


def _first(config: Any, *names: str) -> int:
    """Return the first of a configuration's values that is a positive number; 0 if none is."""
    for name in names:
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return 0


def quantization_of(config: Any) -> str | None:
    """Return how the weights that a configuration describes are quantized; None: they are not."""
    settings = getattr(config, "quantization_config", None)
    if settings is None:
        return None
    values = settings.to_dict() if hasattr(settings, "to_dict") else settings
    return str((isinstance(values, dict) and values.get("quant_method")) or "unknown")


def _dtype(config: Any, numbers: Mapping[str, int] | None) -> str:
    if numbers:
        names = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64"}
        most = max(numbers, key=lambda kind: numbers[kind])
        if most in names:
            return names[most]
    dtype = getattr(config, "dtype", None) or getattr(config.get_text_config(), "dtype", None) or "bfloat16"
    return str(dtype).removeprefix("torch.")


def _bytes_of(parameters: int, dtype: str, quantization: str | None) -> int:
    """Return the size of weights that nobody has seen; 4 bits with scales unless the method's name says 8."""
    if quantization:
        return math.ceil(parameters * (1.05 if "8" in quantization else 0.6))
    return parameters * {"float32": 4, "float64": 8}.get(dtype, 2)


def _kv_bytes(text: Any) -> int:
    """Return the bytes of one token in the cache, in 16 bits, over the layers that have attention."""
    layers = _first(text, "num_hidden_layers", "n_layer", "n_layers")
    kinds = getattr(text, "layer_types", None) or getattr(text, "layers_block_type", None)
    if isinstance(kinds, list):
        layers = sum("attention" in str(kind) and "linear" not in str(kind) for kind in kinds)
    if rank := _first(text, "kv_lora_rank"):  # Multi-head latent attention keeps one compressed vector.
        return 2 * layers * (rank + _first(text, "qk_rope_head_dim"))
    heads = _first(text, "num_attention_heads", "n_head", "n_heads")
    hidden = _first(text, "hidden_size", "n_embd", "d_model")
    head_size = _first(text, "head_dim") or (hidden // heads if heads else 0)
    return 2 * 2 * layers * (_first(text, "num_key_value_heads") or heads) * head_size


def _numbers(folder: Path, files: Mapping[str, int]) -> dict[str, int]:
    """Return how many numbers the safetensors in a folder hold, by type; none where any of their headers is broken."""
    total: dict[str, int] = {}
    for name in files:
        tensors = _header(folder / name) if name.endswith(".safetensors") else None
        if tensors is None:
            return {}
        for kind, count in tensors:
            total[kind] = total.get(kind, 0) + count
    return total


def _header(path: Path) -> list[tuple[str, int]] | None:
    """Return the type and size of each tensor that a safetensors file's header lists; None if it cannot be read."""
    try:
        with path.open("rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        tensors = [(t["dtype"], t["shape"]) for name, t in header.items() if name != "__metadata__"]
    except (OSError, ValueError, MemoryError, OverflowError, RecursionError, AttributeError, TypeError, KeyError):
        return None
    if not all(isinstance(kind, str) and _is_shape(shape) for kind, shape in tensors):
        return None
    return [(kind, math.prod(shape)) for kind, shape in tensors]


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape)
