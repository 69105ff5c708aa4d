"""Whether a model can be loaded on this machine: its weights fit, and its tokenizer can be read."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from typing import Any

from selfinstruct.engines import chat_templates, foreign_code
from selfinstruct.engines.context import cpu_cache_bytes
from selfinstruct.engines.hub import is_modelscope, small_files
from selfinstruct.engines.model_facts import ModelFacts, context_length, read_config
from selfinstruct.engines.parallelism import GPU_SHARE, loaded_bytes, parallelism
from selfinstruct.engines.tokenized_prompts import TokenizedPrompts
from selfinstruct.errors import ConfigError
from selfinstruct.hardware import Hardware
from selfinstruct.text import counted, size_text


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
        ConfigError: they cannot be fetched, or reading them would run code of the model's, and that is not allowed.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers.utils import logging

    logging.set_verbosity_error()
    code_allowed = bool(engine.get("trust_remote_code"))
    max_model_len = engine.get("max_model_len")
    if is_modelscope():
        return None
    length = (
        context_length(read_config(model, revision, trust_remote_code=code_allowed))
        if max_model_len is None
        else max_model_len
    )
    if not isinstance(length, int) or length <= 0:
        return None
    name = str(engine.get("tokenizer") or tokenizer)
    folder = small_files(name, engine.get("tokenizer_revision", revision if name == model else None))
    try:
        options: dict[str, Any] = {"trust_remote_code": code_allowed}
        with foreign_code.refused(model):
            generation = chat_templates.read_generation_config(str(small_files(model, revision)), **options)
            return TokenizedPrompts(chat_templates.load_tokenizer(str(folder), **options), length, generation.to_dict())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError):
        return None


_OF_TORCHVISION = tuple(
    "Cohere2Vision Gemma3ForConditionalGeneration Glm4v InternS1 Lfm2Vl Llama4ForConditionalGeneration Mistral3For "
    "Pixtral Qwen2VL Qwen2_5_VL Qwen3VL".split()
)
"""Architectures, by the beginnings of their names, whose modules in vLLM (0.32) import torchvision."""


def check_vision(facts: ModelFacts) -> None:
    """Check that vLLM can load a model that reads images; the installation without a GPU leaves torchvision out.

    Args:
        facts: of the model.

    Raises:
        ConfigError: it needs torchvision, which is not installed.
    """
    needs = facts.vision and facts.architecture.startswith(_OF_TORCHVISION)
    if needs and importlib.util.find_spec("torchvision") is None:
        raise ConfigError(
            f"model {facts.name!r}: vLLM loads {facts.architecture} only with torchvision, which is not installed; "
            "install the one that is made for this torch (without a GPU: pip install --no-deps torchvision "
            "--index-url https://download.pytorch.org/whl/cpu), or choose a model of text alone"
        )


def room(facts: ModelFacts, engine: Mapping[str, Any], hardware: Hardware) -> float:
    """Return the bytes that the weights of a copy leave of what vLLM takes of its GPUs; 0 or less: they do not fit.

    Args:
        facts: of the model.
        engine: vLLM's engine arguments.
        hardware: of a machine with GPUs.
    """
    smallest = hardware.gpu_bytes
    used = parallelism(facts, engine, len(hardware.gpus), smallest).gpus_per_replica
    return float(engine.get("gpu_memory_utilization", GPU_SHARE)) * smallest * used - loaded_bytes(facts, engine)


def check_memory(facts: ModelFacts, engine: Mapping[str, Any], hardware: Hardware) -> None:
    """Check that the weights fit, and that no other program holds the memory that vLLM asks for.

    Args:
        facts: of the model.
        engine: vLLM's engine arguments.
        hardware: of this machine.

    Raises:
        ConfigError: they do not fit, or the memory is not free.
    """
    model, weights = facts.name, loaded_bytes(facts, engine)
    if not hardware.gpus:
        cache = cpu_cache_bytes()
        if hardware.free_memory and weights + cache > hardware.free_memory:
            raise ConfigError(
                f"model {model!r}: its weights ({size_text(weights)}) and the cache of {size_text(cache)} "
                f"do not fit into the {size_text(hardware.free_memory)} of memory that are free (there is no GPU); "
                "choose a smaller model, end other programs, or set VLLM_CPU_KVCACHE_SPACE (GiB)"
            )
        return
    share = float(engine.get("gpu_memory_utilization", GPU_SHARE))
    smallest = hardware.gpu_bytes
    used = parallelism(facts, engine, len(hardware.gpus), smallest).gpus_per_replica
    if used > len(hardware.gpus):
        raise ConfigError(
            f"engine: a copy of the model is to take {used} GPUs, and {len(hardware.gpus)} can be used here; lower "
            "--engine.tensor-parallel-size or --engine.pipeline-parallel-size"
        )
    if room(facts, engine, hardware) <= 0:
        raise ConfigError(
            f"model {model!r}: its weights take {size_text(weights)}, and {counted(used, 'GPU')} of "
            f"{size_text(smallest)} leave {size_text(share * smallest * used)} to vLLM; choose a smaller or "
            "quantized model, or more GPUs with --engine.tensor-parallel-size"
        )
    for gpu in hardware.gpus:
        if gpu.free < share * gpu.total:
            raise ConfigError(
                f"{gpu.name}: {size_text(gpu.free)} of {size_text(gpu.total)} are free, and vLLM asks for "
                f"{share:.0%}; `nvidia-smi` shows which programs hold the rest: end them, or give "
                f"--engine.gpu-memory-utilization {max(0.05, int(100 * gpu.free / gpu.total) / 100 - 0.02):.2f}"
            )
