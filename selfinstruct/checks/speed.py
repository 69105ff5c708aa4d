"""How fast a model will write and be tuned on given GPUs: a range, before anything has been measured.

A step of the engine writes one token for each sequence in flight. It takes at least as long as its GPU needs to

    read the weights once          weight bytes / bandwidth      or, if longer,
    multiply with them             2 x parameters x sequences / arithmetic rate
    read the cache                 sequences x context x cache bytes a token / bandwidth; at best, half of what prompts
                                   share comes from the GPU's own cache (fits what an H200 wrote, docs/benchmarks.md)

(Pope et al. 2022, arXiv 2211.05102, section 2). Before that, the part of each prompt that no other prompt shares is
computed, at 2 x parameters a token. Training takes 6 x parameters a token, with an adapter 4, and 2 more where
activations are computed again. No program reaches these rates; the shares of them that are reached give the range.
"""

from __future__ import annotations

from dataclasses import dataclass

from selfinstruct.engines.model_facts import ModelFacts
from selfinstruct.engines.parallelism import Parallelism
from selfinstruct.hardware import Gpu
from selfinstruct.text import GIB

_RATES = {
    "B300": (8.0, 2250),
    "B200": (8.0, 2250),
    "GH200": (4.0, 990),
    "H200": (4.8, 990),
    "H100 PCIe": (2.0, 756),
    "H100": (3.35, 990),
    "H800": (3.35, 990),
    "H20": (4.0, 148),
    "A100": (1.55, 312),
    "A800": (1.55, 312),
    "L40S": (0.86, 362),
    "L4": (0.30, 121),
    "A40": (0.70, 150),
    "A10G": (0.60, 70),
    "A10": (0.60, 125),
    "RTX PRO 6000": (1.79, 500),
    "RTX 6000": (0.96, 364),
    "RTX A6000": (0.77, 155),
    "RTX 5090": (1.79, 210),
    "RTX 4090": (1.01, 165),
    "RTX 3090": (0.94, 71),
    "V100": (0.90, 112),
    "T4": (0.32, 65),
}
"""Bandwidth in TB/s and dense 16-bit arithmetic in TFLOP/s, from the makers' data sheets, by a part of the name."""
_UNKNOWN = (0.5, 100)
_ENGINE = (0.3, 0.8)
"""Share of these rates that an engine reaches, lowest and highest."""
_TRAINING = (0.15, 0.5)
"""Likewise, a training."""
_STEP_S = 0.003
"""What each step of the engine costs beside the GPU's work."""


@dataclass(frozen=True, slots=True)
class Range:
    """A number that is known to lie between two, more or less."""

    low: float
    high: float


_DISK = Range(0.2e9, 2e9)
"""Bytes a second at which weights are read."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What one request of a run is like, on average, in tokens.

    Attributes:
        context: that are read in the cache for a token of an answer: the prompt, and the answer so far.
        unshared: of its prompt that no other prompt shares.
        completion: of its answer.
    """

    context: float
    unshared: float
    completion: float


def known(gpu: Gpu) -> bool:
    """Return whether the rates of this kind of GPU are known; if not, it counts as a slow one."""
    return _rates(gpu) is not _UNKNOWN


def tokens_per_s(facts: ModelFacts, load: Workload, gpu: Gpu, used: Parallelism, in_flight: int | None = None) -> Range:
    """Return how many tokens a second all replicas together write.

    Args:
        facts: of the model.
        load: of a request.
        gpu: one of the GPUs, which are all alike.
        used: how the model uses the GPUs.
        in_flight: most requests that all replicas together are given at once; None: as many as they can take.
    """
    bandwidth, arithmetic = (rate * 1e12 * used.gpus_per_replica for rate in _rates(gpu))
    weights = facts.loaded_bytes()
    own = load.unshared + load.completion
    room = max(0.0, 0.9 * gpu.total * used.gpus_per_replica - weights) / max(1, facts.kv_bytes_per_token)
    given_at_once = _most_sequences(gpu) if in_flight is None else in_flight / used.replicas
    sequences = max(1.0, min(_most_sequences(gpu), room / max(1.0, own), given_at_once))
    operations = 2 * _active(facts) / arithmetic
    computing = max(weights / bandwidth, sequences * operations)
    reading = operations * load.unshared / max(1.0, load.completion)
    unshared = min(load.context, load.unshared + load.completion / 2)
    contexts = (load.context, (load.context + unshared) / 2)
    caches = (sequences * context * facts.kv_bytes_per_token / bandwidth for context in contexts)
    low, high = (
        used.replicas / (((computing + cache) / share + _STEP_S) / sequences + reading / share)
        for cache, share in zip(caches, _ENGINE, strict=True)
    )
    return Range(low, high)


def tuning_s(facts: ModelFacts, tokens: float, gpu: Gpu, *, num_gpus: int, adapter: bool) -> Range:
    """Return the seconds of a training's steps.

    Args:
        facts: of the model.
        tokens: that it is trained on, all passes together.
        gpu: one of the GPUs, which are all alike.
        num_gpus: how many.
        adapter: only an adapter is trained.
    """
    operations = (6 if adapter else 8) * _active(facts) * tokens
    low, high = (operations / (_rates(gpu)[1] * 1e12 * num_gpus * share) for share in reversed(_TRAINING))
    return Range(low, high)


def cpu_tokens_per_s(weight_bytes: int) -> Range:
    """Return how many tokens a second are written without a GPU.

    Args:
        weight_bytes: size of the model.
    """
    measured, model_bytes = 1700.0, 14e6  # The demo model on two cores.
    speed = measured * min(1.0, model_bytes / max(1, weight_bytes))
    return Range(0.5 * speed, 1.5 * speed)


def start_s(weight_bytes: int, *, gpu: bool) -> Range:
    """Return the seconds until an engine or a training has started: imports, weights from disk, compilation.

    Args:
        weight_bytes: size of the model.
        gpu: whether it runs on a GPU.
    """
    low, high = (30.0, 150.0) if gpu else (20.0, 90.0)
    return Range(low + weight_bytes / _DISK.high, high + weight_bytes / _DISK.low)


def _active(facts: ModelFacts) -> float:
    """Return the parameters that one token passes through."""
    used = facts.experts_per_token / facts.experts if facts.moe and facts.experts_per_token else 1.0
    return facts.parameters * used


def _most_sequences(gpu: Gpu) -> int:
    """Return vLLM's own limit for a GPU (`EngineArgs.get_batch_defaults`, LLM_CLASS)."""
    return 1024 if gpu.total >= 70 * GIB and "a100" not in gpu.name.lower() else 256


def _rates(gpu: Gpu) -> tuple[float, float]:
    names = gpu.name.replace("NVIDIA", "").replace("GeForce", "")
    words = f" {names.replace('-', ' ')} "
    return next((rates for part, rates in _RATES.items() if f" {part} " in words), _UNKNOWN)
