"""Estimates of the tokens, time and disk that a run will take, before its first token. Assumptions are shown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selfinstruct.checks.speed import Workload
from selfinstruct.config.proposing import Proposal, Proposers
from selfinstruct.config.schema import Answer, Instances

ACCEPTED_SHARE = 0.5
"""Share of the candidates that are accepted; it falls as the pool grows."""
INSTRUCTION_TOKENS = 25
"""Tokens of one instruction."""
JUDGED_SHARE = 0.8
"""Share of the candidates about which the model is asked whether they are tasks: all but copies and bad forms."""
ALONE_TOKENS = 60
"""Tokens of an answer with one instruction: with its plan, or as long as people write."""
INSTANCE_TOKENS = 100
"""Tokens of an answer with the instances of one instruction (the paper's have 1.6, of 12.7 and 18.9 words)."""
INPUT_TOKENS = 60
"""Tokens of an answer with the inputs of one instruction, where they are answered separately."""
ANSWER_TOKENS = 200
"""Tokens of such an answer."""
INPUTS = 1.5
"""Inputs of one instruction."""

_BYTES_PER_TOKEN = 4
_LINE_BYTES = 400
_CANDIDATE_BYTES = 250
_ROW_BYTES = 4096  # Of the dataset, per instruction, in all formats together.
_KEPT_CHECKPOINTS = 3  # Two, and one that is being written.


@dataclass(frozen=True, slots=True)
class Estimate:
    """Requests, tokens, and bytes on disk that a run will take; what one request is like, on average.

    `judged` are questions whether a candidate is a task, `calibrated` questions about the seeds before the run begins,
    `answers` those to inputs that are answered separately; each 0 where none is.
    """

    proposals: int
    judged: int
    calibrated: int
    answers: int
    prompt_tokens: int
    completion_tokens: int
    request: Workload
    journal_bytes: int
    dataset_bytes: int
    model_bytes: int

    @property
    def disk_bytes(self) -> int:
        """All bytes on disk."""
        return self.journal_bytes + self.dataset_bytes + self.model_bytes


def estimate(
    num_instructions: int,
    proposers: Proposers,
    proposal: Proposal,
    instances: Instances,
    answer: Answer | None,
    prompts: Mapping[str, int],
    model_bytes: int = 0,
    *,
    is_task: bool = False,
    calibrated: int = 0,
) -> Estimate:
    """Estimate what a run will take.

    Args:
        num_instructions: its target.
        proposers: the weights of the ways to propose instructions.
        proposal: options of the list, the one way that asks for several instructions at once.
        instances: options of writing instances.
        answer: options of answering inputs separately; None where they are not.
        prompts: tokens of a typical prompt of each kind of request; one that is missing counts as 0.
        model_bytes: disk of the tuning, from `tuned_bytes`.
        is_task: whether the model is asked which candidates are tasks.
        calibrated: texts that it is asked about before the run begins.
    """
    lists = proposers.list / sum(proposers.weights.values())
    candidates = lists * proposal.num_new + (1 - lists)
    proposals = math.ceil(num_instructions / (candidates * ACCEPTED_SHARE))
    listed = min(proposal.max_tokens, proposal.num_new * INSTRUCTION_TOKENS)
    proposed = round(lists * listed + (1 - lists) * ALONE_TOKENS)
    answered = min(instances.max_tokens, INPUT_TOKENS if answer else INSTANCE_TOKENS)
    examples = proposal.num_seed_examples + proposal.num_generated_examples
    kinds = [  # how many, tokens of a prompt, those that it shares with no other, tokens of an answer
        (proposals, prompts.get("proposal", 0), examples * INSTRUCTION_TOKENS, proposed),
        (num_instructions, prompts.get("classification", 0), INSTRUCTION_TOKENS, 1),
        (num_instructions, prompts.get("instances", 0), INSTRUCTION_TOKENS, answered),
    ]
    judged = math.ceil(proposals * candidates * JUDGED_SHARE) if is_task else 0
    kinds += [(judged + calibrated, prompts.get("is_task", 0), INSTRUCTION_TOKENS, 1)]
    answers = math.ceil(num_instructions * INPUTS) if answer else 0
    length = min(answer.max_tokens, ANSWER_TOKENS) * answer.num_samples if answer else 0
    if answers:
        kinds.append((answers, prompts.get("answer", 0), INSTRUCTION_TOKENS + INPUT_TOKENS, length))
    written = sum(number * answer for number, _, _, answer in kinds)
    # The journal holds every text twice: in its completion and among the candidates.
    journal = proposals * round(_LINE_BYTES + candidates * _CANDIDATE_BYTES + proposed * _BYTES_PER_TOKEN * 2)
    journal += num_instructions * (2 * _LINE_BYTES + answered * _BYTES_PER_TOKEN * 2)
    journal += answers * (_LINE_BYTES + length * _BYTES_PER_TOKEN * 2)
    return Estimate(
        proposals=proposals,
        judged=judged,
        calibrated=calibrated,
        answers=answers,
        prompt_tokens=sum(number * prompt for number, prompt, _, _ in kinds),
        completion_tokens=written,
        request=_mean(kinds),
        journal_bytes=journal,
        dataset_bytes=num_instructions * _ROW_BYTES,
        model_bytes=model_bytes,
    )


def _mean(kinds: Sequence[tuple[int, int, int, int]]) -> Workload:
    """Return what one request is like on average.

    Args:
        kinds: of each kind how many, tokens of a prompt, those that it shares with no other, tokens of an answer.
    """
    requests = sum(number for number, *_ in kinds)
    written = sum(number * answer for number, _, _, answer in kinds)
    return Workload(
        context=sum(number * answer * (prompt + answer / 2) for number, prompt, _, answer in kinds) / written,
        unshared=sum(number * min(prompt, unshared) for number, prompt, unshared, _ in kinds) / requests,
        completion=written / requests,
    )


def trained_tokens(num_instructions: int, arguments: Mapping[str, Any]) -> float:
    """Return the tokens that a tuning reads, all passes over the dataset together.

    Args:
        num_instructions: of the run.
        arguments: TRL's.
    """
    return num_instructions * (INSTRUCTION_TOKENS + INSTANCE_TOKENS) * float(arguments.get("num_train_epochs", 3))


def tuned_bytes(arguments: Mapping[str, Any], weight_bytes: int, trained: int = 0) -> int:
    """Return the disk of a tuning in bytes: the model at 2 bytes a parameter, and checkpoints while it trains.

    A checkpoint holds what is trained in float32 and two moments of Adam, 12 bytes a parameter. An adapter is also kept
    beside the merged model.

    Args:
        arguments: TRL's.
        weight_bytes: size of the model that is tuned, in 16 bits; 0: not known, or nothing is tuned.
        trained: parameters of the adapter, if one is trained; 0: not known, and they count as few.
    """
    adapter = bool(arguments.get("use_peft"))
    checkpoint = (trained if adapter else weight_bytes // 2) * (4 if arguments.get("save_only_model") else 12)
    checkpoints = 0 if arguments.get("save_strategy") == "no" else _KEPT_CHECKPOINTS * checkpoint
    return weight_bytes + checkpoints + (4 * trained if adapter else 0)
