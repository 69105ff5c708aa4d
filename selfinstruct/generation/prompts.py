"""The prompts of each step. `parsing.py` reads the answers: each `encode_*` here has its `parse_*` there.

These steps send prompts to the model (paper, section 2.2):

    proposal        new instructions after a list of eight           encode_proposal        parse_proposal
    classification  is this a classification task?                   encode_classification  parse_classification
    instances       input, then output (input-first)                 encode_input_first     parse_input_first
                    label, then input (output-first)                 encode_output_first    parse_output_first
    answer          the output of one instruction and input          encode_answer          parse_answer

Every encoder takes its few-shot examples as arguments, so a user's own seed file steers every step. It returns a
string for a base model (`completion` style: the model continues the text) or messages for a chat model (`chat`
style: the same examples inside one user message). A parser accepts the answers of both styles. Answers are the
exception: `encode_answer` and `parse_answer` are for base models; a chat model gets the bare question, and
`strip_thinking` reads its answer.

Field markers and stop strings count only at the start of a line: the reference code's stop "16." cuts ordinary text.
Examples are always the first part of a prompt, so that the prefix cache can reuse them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from selfinstruct.generation.parsing import one_line, parse_input_first, parse_output_first
from selfinstruct.records import Instance, Prompt, SeedTask, Style

PROMPTS_VERSION = 1
"""Part of a run's identity. Raise it whenever a prompt's text or a parser's result changes."""


def can_be_shown(seed: SeedTask) -> bool:
    """Return whether the seed's instances survive a round trip through the instance prompts.

    They do not when one of their lines opens like a field (`Input:`, `Example 2`). Such a line would mislead a model.
    """
    return instances_of(seed) == list(seed.instances)


def fit(
    encode: Callable[[int], Prompt], most: int, limit: int, count: Callable[[Prompt], int]
) -> tuple[Prompt, int] | None:
    """Return the prompt with the most examples that fit.

    Args:
        encode: makes the prompt with the first k of its examples.
        most: the largest k to try; 0 or more.
        limit: the number of tokens that the prompt may have.
        count: counts the tokens of a prompt.

    Returns:
        The prompt and its number of examples, or None when even the prompt without examples is too long.
    """
    low, high, best = 0, most, None
    k = most  # Nearly always all examples fit, so try that first; then search by halves.
    while low <= high:
        prompt = encode(k)
        if count(prompt) <= limit:
            best, low = (prompt, k), k + 1
        else:
            high = k - 1
        k = (low + high + 1) // 2
    return best


# ---------------------------------------------------------------------------------------------- proposal

_PROPOSAL_HEADER = "Here is a list of varied tasks, each of a different kind."


def encode_proposal(examples: Sequence[str], num_new: int, style: Style) -> Prompt:
    """Return the prompt that asks for `num_new` instructions after a numbered list of `examples`."""
    listed = "\n".join(f"Task {k}: {one_line(text)}" for k, text in enumerate(examples, 1))
    first, last = len(examples) + 1, len(examples) + num_new
    if style == "completion":
        return f"{_PROPOSAL_HEADER}\n\n{listed}\nTask {first}:"
    return [
        {
            "role": "user",
            "content": f"{_PROPOSAL_HEADER}\n\n{listed}\n\nContinue the list with {num_new} new tasks. Each asks for "
            "something else than those above and than each other, differs in subject, form and length, and can be done "
            "by reading and writing alone. Where a task works on given material, describe the task without the "
            f"material itself. Write one task per line, from 'Task {first}:' to 'Task {last}:', and nothing else.",
        }
    ]


def proposal_stop(num_examples: int, num_new: int) -> tuple[str, ...]:
    """Return the stop strings of a completion-style proposal: the first item too many, and a new section."""
    return (f"\nTask {num_examples + num_new + 1}:", "\n\n\n")


# ---------------------------------------------------------------------------------------- classification

_CLASSIFICATION_HEADER = (
    "A classification task has a small, fixed set of possible answers. "
    "Say for each task whether it is a classification task."
)
CLASSIFICATION_STOP = ("\n",)
"""Stop strings of a completion-style classification."""

CHOICES: dict[Style, tuple[str, str]] = {"completion": (" Yes", " No"), "chat": ("Yes", "No")}
"""The answers yes and no by style, for an engine that can limit its output to given choices."""


def encode_classification(instruction: str, examples: Sequence[SeedTask], style: Style) -> Prompt:
    """Return the prompt that asks whether `instruction` is a classification task.

    Args:
        instruction: the instruction to classify.
        examples: seeds to show with their answers.
        style: the style of the prompt.
    """
    shown = "\n\n".join(
        f"Task: {one_line(s.instruction)}\nClassification: {'Yes' if s.is_classification else 'No'}" for s in examples
    )
    shown = f"{_CLASSIFICATION_HEADER}\n\n{shown}".rstrip()
    asked = f"Task: {one_line(instruction)}\nClassification:"
    if style == "completion":
        return f"{shown}\n\n{asked}"
    return [{"role": "user", "content": f"{shown}\n\nNow answer for this one with Yes or No only.\n\n{asked}"}]


# --------------------------------------------------------------------------------------------- instances

_INPUT_FIRST_HEADER = "Worked examples of varied tasks. A task that needs no input has outputs only."
_OUTPUT_FIRST_HEADER = "Worked examples of classification tasks: first a label, then an input that has this label."
INSTANCE_STOP = ("\nTask:",)
"""Stop strings of completion-style instance prompts: the next task. Blank lines do not stop: they belong to code."""


def _input_first_block(seed: SeedTask) -> str:
    lines = [f"Task: {one_line(seed.instruction)}"]
    for k, instance in enumerate(seed.instances, 1):
        lines.append(f"Example {k}")
        if instance.input:
            lines.append(f"Input: {instance.input}")
        lines.append(f"Output: {instance.output}")
    return "\n".join(lines)


def _output_first_block(seed: SeedTask) -> str:
    pairs = "\n\n".join(
        f"Label: {i.output}\nInput: {i.input}" if i.input else f"Label: {i.output}" for i in seed.instances
    )
    return f"Task: {one_line(seed.instruction)}\n{pairs}"


def _encode_instances(header: str, blocks: Sequence[str], instruction: str, ask: str, style: Style) -> Prompt:
    shown = "\n\n".join([header, *blocks])
    asked = f"Task: {one_line(instruction)}\n"
    if style == "completion":
        return f"{shown}\n\n{asked}"
    return [{"role": "user", "content": f"{shown}\n\n{ask}\n\n{asked}".rstrip()}]


def encode_input_first(instruction: str, examples: Sequence[SeedTask], style: Style) -> Prompt:
    """Return the prompt that asks for instances of `instruction`, the input before the output.

    Args:
        instruction: the instruction to make instances of.
        examples: seeds to show with their instances.
        style: the style of the prompt.
    """
    ask = (
        "Now write one to three examples for the task below in the same form (Example 1, Input:, Output:), with "
        "varied, complete inputs and correct outputs. Leave out 'Input:' when the task needs none. "
        "Write the examples and nothing else."
    )
    return _encode_instances(_INPUT_FIRST_HEADER, [_input_first_block(s) for s in examples], instruction, ask, style)


def encode_output_first(instruction: str, examples: Sequence[SeedTask], style: Style) -> Prompt:
    """Return the prompt that asks for instances of a classification task, the label before the input.

    With the input first, most instances get the same label (paper, section 2.2).

    Args:
        instruction: the instruction to make instances of.
        examples: seeds to show with their instances; all are classification tasks.
        style: the style of the prompt.
    """
    ask = (
        "Now write one example for each possible label of the task below in the same form (Label:, then Input:). "
        "Write the examples and nothing else."
    )
    return _encode_instances(_OUTPUT_FIRST_HEADER, [_output_first_block(s) for s in examples], instruction, ask, style)


def instances_of(seed: SeedTask) -> list[Instance]:
    """Return the instances that the parsers read in the seed's own block; see `can_be_shown`."""
    block = _output_first_block(seed) if seed.is_classification else _input_first_block(seed)
    parse = parse_output_first if seed.is_classification else parse_input_first
    return [Instance(p.input, p.output) for p in parse(block.partition("\n")[2], truncated=False)]


# ------------------------------------------------------------------------------------------------- answer

ANSWER_STOP = ("\nExample 2", "\nTask:")
"""Stop strings of an answer after worked examples: the next example, and the next task."""


def encode_answer(instruction: str, task_input: str, examples: Sequence[SeedTask]) -> str:
    """Return the prompt of a base model for one output: worked examples, then the question, which ends in "Output:".

    Args:
        instruction: the instruction to answer.
        task_input: its input; may be empty.
        examples: seeds to show, in the form of the input-first prompt.
    """
    asked = encode_input_first(instruction, examples, "completion")
    return f"{asked}Example 1\nInput: {task_input}\nOutput:" if task_input else f"{asked}Example 1\nOutput:"


def few_shot_examples(seeds: Sequence[SeedTask], most: int, seed: int) -> list[SeedTask]:
    """Return the seeds to show, the same for every question so that the prefix cache can reuse them.

    They are drawn from the shorter half of the seeds, so that many fit.

    Args:
        seeds: the seeds to draw from; those that cannot be shown (see `can_be_shown`) are left out.
        most: the number of seeds to draw; fewer when there are fewer.
        seed: the seed of the draw.
    """
    showable = [task for task in seeds if can_be_shown(task)]
    by_size = sorted(showable, key=lambda task: sum(len(i.input) + len(i.output) for i in task.instances))
    half = by_size[: max(most, len(by_size) // 2)]
    return random.Random(f"{seed}/evaluation").sample(half, min(most, len(half)))
