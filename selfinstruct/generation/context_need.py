"""How long a context the prompts of a run need, before there is a tokenizer to count their tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from selfinstruct.engines.context import ENOUGH
from selfinstruct.generation.method import Method
from selfinstruct.records import SeedTask

_STEP = 4096
"""Tokens; needs are rounded up to a multiple of it, which leaves room for the words of the prompts and the template."""
_BYTES_PER_WORD = 12


def needed_context(tasks: Sequence[SeedTask], method: Method) -> int:
    """Return a context that the prompts of a run cannot exceed with their answers, in tokens; at most `ENOUGH`.

    A token is at least one byte, so that bytes are counted. English has four times fewer tokens; that leaves room for
    what is in the pool. An instruction of words longer than 12 bytes on average may still be too long; then fewer
    examples are shown with it.

    Args:
        tasks: the seeds.
        method: how many of them each prompt shows, and the longest answers.
    """
    generated = _BYTES_PER_WORD * method.filters.max_words
    instructions = [len(task.instruction.encode()) for task in tasks]
    longest = max([generated, *instructions])
    whole = [
        size + sum(len(f"{each.input}{each.output}".encode()) for each in task.instances)
        for task, size in zip(tasks, instructions, strict=True)
    ]
    proposal, classification, instances = method.proposal, method.classification, method.instances
    needs = [
        proposal.num_seed_examples * longest + proposal.num_generated_examples * generated + proposal.max_tokens,
        _most(instructions, classification.num_examples) + longest + classification.max_tokens,
        _most(whole, instances.num_examples) + longest + instances.max_tokens,
        # Half of the context is an answer's; one that is cut goes on from its own beginning.
        2 * (longest + instances.max_tokens + method.answer.max_tokens),
        method.proposers.plan.num_examples * longest + method.proposers.plan.max_tokens,
        longest + method.proposers.evolve.max_tokens,
        len(method.proposers.template.system.encode()) + method.proposers.template.max_tokens,
    ]
    return min(ENOUGH, (max(needs) // _STEP + 2) * _STEP)


def _most(sizes: Iterable[int], number: int) -> int:
    return sum(sorted(sizes, reverse=True)[:number])
