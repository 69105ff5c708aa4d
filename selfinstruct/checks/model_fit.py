"""What is known of a model before its engine starts: the size of its weights, its tokenizer, whether it fits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfinstruct.engines import chat_templates
from selfinstruct.engines.tokenized_prompts import TokenizedPrompts
from selfinstruct.engines.vllm import default_parallelism
from selfinstruct.errors import ConfigError
from selfinstruct.hardware import Hardware
from selfinstruct.text import GIB, size_text

_GPU_SHARE = 0.9
"""vLLM's own default of `gpu_memory_utilization`."""
_HUB_TIMEOUT_S = 20.0
_MAX_LENGTHS = "max_position_embeddings n_positions max_seq_len seq_length max_sequence_length max_target_positions"


def weight_bytes(model: str, revision: str | None = None) -> int:
    """Return the size of a model's weights in bytes; 0 where it cannot be known.

    Args:
        model: a folder, or a name on the Hub.
        revision: on the Hub; default: its main one.

    Raises:
        ConfigError: the model is not on this machine and cannot be fetched.
    """
    if Path(model).is_dir():
        return sum(path.stat().st_size for path in Path(model).glob("*.safetensors"))
    from huggingface_hub import constants, try_to_load_from_cache

    cached = try_to_load_from_cache(model, "config.json", revision=revision)
    size = weight_bytes(str(Path(cached).parent)) if isinstance(cached, str) else 0
    if size or os.environ.get("VLLM_USE_MODELSCOPE", "").lower() in ("1", "true"):
        return size
    if constants.is_offline_mode():
        raise ConfigError(
            f"model {model!r} is not on this machine, and HF_HUB_OFFLINE forbids fetching it: unset HF_HUB_OFFLINE, "
            f"or fetch it beforehand with `hf download {model}`, or give the path of a local copy"
        )
    return _weights_on_hub(model, revision)


def _weights_on_hub(model: str, revision: str | None) -> int:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        info = HfApi().model_info(model, revision=revision, timeout=_HUB_TIMEOUT_S, files_metadata=True)
    except GatedRepoError as error:
        raise ConfigError(
            f"model {model!r} is gated: accept its terms on its page of the Hub, then set HF_TOKEN or `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise ConfigError(f"model {model!r} has no revision {revision!r} on the Hub; correct --revision") from error
    except RepositoryNotFoundError as error:
        raise ConfigError(
            f"model {model!r} is neither a folder here nor a model on the Hub that can be seen; correct the name, or, "
            "when it is private, set HF_TOKEN or `hf auth login`"
        ) from error
    except (OSError, HfHubHTTPError, ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"model {model!r} is not on this machine, and the Hub cannot be reached: {reason:.200}; check the network "
            "(HF_ENDPOINT names a mirror), or give the path of a local copy"
        ) from error
    return sum(f.size or 0 for f in info.siblings or () if f.rfilename.endswith(".safetensors"))


def read_tokenizer(
    model: str, tokenizer: str, revision: str | None, engine: Mapping[str, Any]
) -> TokenizedPrompts | None:
    """Return the model's tokenizer and context length, as an engine that only counts and renders.

    Args:
        model: a folder, or a name on the Hub.
        tokenizer: likewise.
        revision: of both, on the Hub.
        engine: vLLM's engine arguments.

    Returns:
        None where transformers cannot read them, or vLLM alone knows the context length.

    Raises:
        ConfigError: reading them would run code of the model's, and that is not allowed.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers import AutoConfig
    from transformers.utils import logging

    logging.set_verbosity_error()
    options: dict[str, Any] = {"revision": revision, "trust_remote_code": bool(engine.get("trust_remote_code"))}
    name = str(engine.get("tokenizer") or tokenizer)
    try:
        length = _context_length(AutoConfig.from_pretrained(model, **options), engine.get("max_model_len"))
        if length is None:
            return None
        own = options | {"revision": engine.get("tokenizer_revision", revision)}
        generation_config = chat_templates.read_generation_config(model, **options).to_dict()
        return TokenizedPrompts(chat_templates.load_tokenizer(name, **own), length, generation_config)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError) as error:
        if "trust_remote_code" in str(error):
            raise ConfigError(
                f"model {model!r} brings code of its own; read it, and allow it with --engine.trust-remote-code"
            ) from error
        return None


def _context_length(model: Any, max_model_len: Any) -> int | None:
    """Return the tokens of prompt and answer, as vLLM derives them; None where only vLLM can know."""
    if max_model_len is not None:
        return max_model_len if isinstance(max_model_len, int) and max_model_len > 0 else None
    text = model.get_text_config()
    lengths = [getattr(text, name, None) for name in _MAX_LENGTHS.split()]
    known = [length for length in lengths if isinstance(length, int) and length > 0]
    scaling = getattr(text, "rope_scaling", None) or {}
    # vLLM multiplies stretched positions in ways that depend on their kind.
    return None if not known or (scaling.get("factor") or 1) != 1 else min(known)


def check_memory(model: str, engine: Mapping[str, Any], weights: int, hardware: Hardware) -> None:
    """Check that the weights fit, and that no other program holds the memory that vLLM asks for.

    Args:
        model: its name, for messages.
        engine: vLLM's engine arguments.
        weights: size of the weights in bytes; 0: not known.
        hardware: of this machine.

    Raises:
        ConfigError: they do not fit, or the memory is not free.
    """
    if engine.get("quantization") or engine.get("load_format") == "dummy":
        weights = 0  # They take another size in memory than on disk.
    if not hardware.gpus:
        cache = float(os.environ.get("VLLM_CPU_KVCACHE_SPACE") or 2) * GIB
        if hardware.free_memory and weights + cache > hardware.free_memory:
            raise ConfigError(
                f"model {model!r}: its weights ({size_text(weights)}) and the cache of {size_text(cache)} "
                f"do not fit into the {size_text(hardware.free_memory)} of memory that are free (there is no GPU); "
                "choose a smaller model, end other programs, or set VLLM_CPU_KVCACHE_SPACE (GiB)"
            )
        return
    share = float(engine.get("gpu_memory_utilization", _GPU_SHARE))
    first = hardware.gpus[0]
    used = _gpus_per_replica(engine, hardware, weights)
    room = share * first.total * used - weights
    if weights and room <= 0:
        raise ConfigError(
            f"model {model!r}: its weights take {size_text(weights)}, and {used} GPU(s) of "
            f"{size_text(first.total)} leave {size_text(share * first.total * used)} to vLLM; choose a smaller or "
            "quantized model, or more GPUs with --engine.tensor-parallel-size"
        )
    for gpu in hardware.gpus:
        if gpu.free < share * gpu.total:
            raise ConfigError(
                f"{gpu.name}: {size_text(gpu.free)} of {size_text(gpu.total)} are free, and vLLM asks for "
                f"{share:.0%}; `nvidia-smi` shows which programs hold the rest: end them, or give "
                f"--engine.gpu-memory-utilization {max(0.05, int(100 * gpu.free / gpu.total) / 100 - 0.02):.2f}"
            )


def _gpus_per_replica(engine: Mapping[str, Any], hardware: Hardware, weights: int) -> int:
    """Return the GPUs over which the engine will divide one copy of the weights."""
    if {"tensor_parallel_size", "data_parallel_size", "pipeline_parallel_size"} & engine.keys():
        return int(engine.get("tensor_parallel_size", 1)) * int(engine.get("pipeline_parallel_size", 1))
    # The number of attention heads may rule out some sizes; 0 heads rule out none.
    parallel = default_parallelism(len(hardware.gpus), weights, hardware.gpus[0].total, 0)
    return parallel.get("tensor_parallel_size", 1)
