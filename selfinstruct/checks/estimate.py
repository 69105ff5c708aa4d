"""What a run will take: tokens, time, disk. Guesses before the first token, from assumptions that are said aloud."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from selfinstruct.config.schema import Config

ACCEPTED_SHARE = 0.5
"""Of the candidates; it falls as the pool grows."""
INSTRUCTION_TOKENS = 25
INSTANCE_TOKENS = 100
"""Of one answer with the instances of an instruction (the paper's have 1.6, of 12.7 and 18.9 words)."""

_BYTES_PER_TOKEN = 4
_LINE_BYTES = 400
_CANDIDATE_BYTES = 250
_ROW_BYTES = 4096  # Of the dataset, per instruction, in all formats together.
_KEPT_CHECKPOINTS = 3  # Two, and one that is being written.


@dataclass(frozen=True, slots=True)
class Estimate:
    """Requests, tokens, and bytes on disk."""

    proposals: int
    prompt_tokens: int
    completion_tokens: int
    journal_bytes: int
    dataset_bytes: int
    model_bytes: int

    @property
    def disk_bytes(self) -> int:
        """All of it."""
        return self.journal_bytes + self.dataset_bytes + self.model_bytes


def estimate(config: Config, prompts: Mapping[str, int], weight_bytes: int = 0, *, tuned: bool) -> Estimate:
    """What a run of this configuration will take.

    Args:
        config: the configuration.
        prompts: tokens of a typical prompt of each kind (`proposal`, `classification`, `instances`); missing kinds are
            taken for nothing.
        weight_bytes: size of the model that is tuned; 0 where it is not known, which leaves it out.
        tuned: whether a model is tuned, too.
    """
    wanted = config.num_instructions
    proposals = math.ceil(wanted / (config.proposal.num_new * ACCEPTED_SHARE))
    proposed = min(config.proposal.max_tokens, config.proposal.num_new * INSTRUCTION_TOKENS)
    answered = min(config.instances.max_tokens, INSTANCE_TOKENS)
    in_prompts = proposals * prompts.get("proposal", 0)
    in_prompts += wanted * (prompts.get("classification", 0) + prompts.get("instances", 0))
    # Every text stands in its completion and again among the candidates.
    journal = proposals * (_LINE_BYTES + config.proposal.num_new * _CANDIDATE_BYTES + proposed * _BYTES_PER_TOKEN * 2)
    journal += wanted * (2 * _LINE_BYTES + answered * _BYTES_PER_TOKEN * 2)
    return Estimate(
        proposals=proposals,
        prompt_tokens=in_prompts,
        completion_tokens=proposals * proposed + wanted * (1 + answered),
        journal_bytes=journal,
        dataset_bytes=wanted * _ROW_BYTES,
        model_bytes=_tuned_bytes(config.tune.arguments, weight_bytes) if tuned else 0,
    )


def _tuned_bytes(arguments: Mapping[str, Any], weight_bytes: int) -> int:
    """Disk of a tuning: the model at its own precision (2 bytes a parameter), and checkpoints while it trains.

    A checkpoint of full fine-tuning holds float32 weights and two moments of Adam, 12 bytes a parameter; one of an
    adapter is small.
    """
    per_parameter = 4 if arguments.get("save_only_model") else 12
    small = arguments.get("use_peft") or arguments.get("save_strategy") == "no"
    checkpoints = 0 if small else _KEPT_CHECKPOINTS * per_parameter * weight_bytes // 2
    return weight_bytes + checkpoints


def tokens_per_s(weight_bytes: int, num_gpus: int) -> tuple[float, str]:
    """Output tokens per second that the estimate of time counts with, and the assumption as a sentence."""
    size = max(weight_bytes, 1)
    if num_gpus:
        speed = min(20_000.0, 5000.0 * 16e9 / size) * num_gpus
        return speed, "5,000 output tokens/s per GPU for 16 GB of weights, in proportion to size, at most 20,000"
    speed = min(1700.0, 1700.0 * 14e6 / size)
    return (
        speed,
        "1,700 output tokens/s on CPU for 14 MB of weights (the demo model on two cores), in proportion to size",
    )
