"""Whether few-shot prompts fit a context, estimated without a tokenizer: `seeds check --context-length 4096`.

Prompts that are too long show fewer examples; a seed that is too long alone is never shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from selfinstruct.config.schema import Config
from selfinstruct.records import SeedTask

_BYTES_PER_TOKEN = 4
"""Of English text; other scripts have fewer bytes to a token."""


def fit_remarks(tasks: Sequence[SeedTask], context_length: int) -> list[str]:
    """Return a remark for each kind of prompt that shows too few seeds, and for each seed that is too long for it.

    Args:
        tasks: the seeds.
        context_length: tokens of prompt and answer.
    """
    options = Config()
    proposal, classification, instances = options.proposal, options.classification, options.instances
    instructions = {task.id: _tokens(task.instruction) for task in tasks}
    whole = {
        task.id: instructions[task.id] + sum(_tokens(each.input) + _tokens(each.output) for each in task.instances)
        for task in tasks
    }
    kinds = (
        ("for new tasks", instructions, proposal.num_seed_examples, proposal.max_tokens),
        (
            "that ask whether a task is a classification",
            instructions,
            classification.num_examples,
            classification.max_tokens,
        ),
        ("for instances", whole, instances.num_examples, instances.max_tokens),
    )
    remarks = []
    for kind, sizes, wanted, answer in kinds:
        room = context_length - answer
        fitting = max(0, int(room / fmean(sizes.values()))) if sizes else 0
        if fitting < min(wanted, len(tasks)):
            remarks.append(
                f"prompts {kind} have room for about {fitting} of {min(wanted, len(tasks))} seeds in a context of "
                f"{context_length:,} tokens, beside an answer of up to {answer:,}"
            )
        remarks += [
            f"{name}: about {size:,} tokens; prompts {kind} cannot show it in a context of {context_length:,}"
            for name, size in sizes.items()
            if size > room
        ]
    return remarks


def _tokens(text: str) -> int:
    return len(text.encode()) // _BYTES_PER_TOKEN + 1
