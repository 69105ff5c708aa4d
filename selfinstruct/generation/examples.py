"""Choose the examples of a prompt: the tasks, the frame that can show them, and as many as fit."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from selfinstruct.generation.frame import Frame
from selfinstruct.generation.instance_parsing import parse_input_first, parse_output_first
from selfinstruct.generation.prompts import input_first_block, output_first_block
from selfinstruct.records import Instance, Prompt, SeedTask

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Examples:
    """Tasks to show with their instances, and a frame that can show all of them.

    It is the plain frame if possible. It is a marked frame if a line of an instance begins like a line of the prompt.
    """

    tasks: tuple[SeedTask, ...]
    frame: Frame

    @classmethod
    def of(cls, tasks: Sequence[SeedTask], frame: Frame) -> Examples:
        """Return the tasks with the frame that can show all of them.

        Args:
            tasks: the tasks to show, all from `showable`.
            frame: the plain frame.
        """
        plain = all(can_be_shown(task, frame) for task in tasks)
        return cls(tuple(tasks), frame if plain else _marked(tasks, frame))


def instances_of(task: SeedTask, frame: Frame) -> list[Instance]:
    """Return the instances that a parser reads in the block of this task in a prompt."""
    block = output_first_block(task, frame) if task.is_classification else input_first_block(task, frame)
    parse = parse_output_first if task.is_classification else parse_input_first
    parsed = parse(block.partition("\n")[2], truncated=False, frame=frame)
    return [Instance(p.input, p.output) for p in parsed if p.fault is None]


def can_be_shown(task: SeedTask, frame: Frame) -> bool:
    """Return whether a parser reads the same instances in a prompt as the task has.

    It does not if a line of an instance begins like a line of the prompt ("Input:", "Example 2"). Such a line would
    also mislead a model. A marked frame can show such instances.
    """
    return instances_of(task, frame) == list(task.instances)


def showable(tasks: Sequence[SeedTask], frame: Frame, wanted: int) -> list[SeedTask]:
    """Return the tasks that prompts can show.

    If the plain frame can show enough of them, these are the tasks that it can show. Otherwise they are those that a
    marked frame can show.

    Args:
        tasks: tasks of one kind.
        frame: the plain frame.
        wanted: the number of tasks that the prompt shows.
    """
    plain = [task for task in tasks if can_be_shown(task, frame)]
    if len(plain) >= min(wanted, len(tasks)):
        return plain
    marked = _marked(tasks, frame)
    return [task for task in tasks if can_be_shown(task, marked)]


def _marked(tasks: Sequence[SeedTask], frame: Frame) -> Frame:
    return frame.marked(text for task in tasks for i in task.instances for text in (i.input, i.output))


@dataclass(frozen=True, slots=True)
class ExampleChoice:
    """The tasks of one kind that prompts may show.

    Attributes:
        to_show: tasks to show with their instances.
        to_classify: tasks to show with the answer to the question whether they are classification tasks.
        remarks: why these are not the user's own tasks; empty if they are.
    """

    to_show: tuple[SeedTask, ...]
    to_classify: tuple[SeedTask, ...]
    remarks: tuple[str, ...]

    @classmethod
    def of(
        cls, seeds: Sequence[SeedTask], borrowed: Sequence[SeedTask], kind: bool, frame: Frame, wanted: int
    ) -> ExampleChoice:
        """Choose tasks of one kind from the seeds; if no seed can be shown, from the packaged tasks.

        Args:
            seeds: the user's own tasks.
            borrowed: packaged tasks.
            kind: True: choose classification tasks; False: choose all other tasks.
            frame: the words of the prompts.
            wanted: the number of tasks that a prompt shows with their instances.
        """
        own = [task for task in seeds if task.is_classification == kind]
        shown = showable(own, frame, wanted)
        if shown:
            return cls(tuple(shown), tuple(shown), ())
        spare = tuple(task for task in borrowed if task.is_classification == kind and can_be_shown(task, frame))
        named = "classification task" if kind else "task that is no classification task"
        instead = f"the examples of such tasks are packaged ones in {frame.language}"
        if not own:
            return cls(spare, spare, (f"the seeds hold no {named}: {instead}",))
        why = f"no {named} of the seeds can be shown in a prompt, since its instances would be read otherwise"
        return cls(spare, tuple(own), (f"{why} ({own[0].id}, for example): {instead}",))


def compact(tasks: Sequence[SeedTask], most: int, draw: random.Random) -> list[SeedTask]:
    """Draw up to `most` tasks from the shorter half of the tasks, so that many fit into the context.

    Args:
        tasks: to draw from.
        most: how many at most.
        draw: source of randomness.
    """
    sized = sorted(tasks, key=lambda task: sum(len(i.input) + len(i.output) for i in task.instances))
    half = sized[: max(most, len(sized) // 2)]
    return draw.sample(half, min(most, len(half)))


def mixed(yes: Sequence[SeedTask], no: Sequence[SeedTask], most: int, draw: random.Random) -> list[SeedTask]:
    """Draw up to `most` tasks, about two classification tasks to three others (the paper shows 12 and 19).

    Both kinds are spread evenly over the list, because a prompt that is too long for the context is cut at its end.

    Args:
        yes: classification tasks.
        no: all other tasks.
        most: the greatest number of tasks to draw.
        draw: the source of randomness.
    """
    wanted = min(len(yes), max(1, round(most * 12 / 31)))
    chosen_yes = draw.sample(yes, wanted)
    chosen_no = draw.sample(no, min(len(no), most - wanted))
    shares = [
        (k / max(len(group), 1), which, task)
        for which, group in enumerate((chosen_no, chosen_yes))
        for k, task in enumerate(group)
    ]
    return [task for _, _, task in sorted(shares, key=lambda share: share[:2])]


def few_shot_examples(seeds: Sequence[SeedTask], most: int, seed: int, frame: Frame) -> Examples:
    """Return the seeds to show before each question of an evaluation.

    They are the same for every question, so that the prefix cache can reuse them. They are drawn from the shorter half
    of the seeds, so that many fit into the context.

    Args:
        seeds: the seeds to draw from; those that cannot be shown (see `can_be_shown`) are left out.
        most: the number of seeds to draw; fewer when there are fewer.
        seed: the seed of the draw.
        frame: the words of the prompts.
    """
    drawn = compact(showable(seeds, frame, most), most, random.Random(f"{seed}/evaluation"))
    return Examples.of(drawn, frame)


def fit(
    encode: Callable[[Sequence[T]], Prompt], examples: Sequence[T], limit: int, count: Callable[[Prompt], int]
) -> tuple[Prompt, list[T]] | None:
    """Return a prompt with as many of the examples as fit, in their order.

    Examples more than twice as long as the median are added last.

    Args:
        encode: makes the prompt with the given examples.
        examples: the examples to show.
        limit: the number of tokens that the prompt may have.
        count: counts the tokens of a prompt.

    Returns:
        The prompt and its examples; None if the prompt is too long even without examples.
    """
    prompt = encode(examples)
    if count(prompt) <= limit:  # Nearly always.
        return prompt, list(examples)
    least = count(encode([]))
    if least > limit:
        return None
    sizes = [count(encode([example])) - least for example in examples]
    chosen = _within(limit - least, sizes)
    prompt = encode([examples[k] for k in chosen])
    while chosen and count(prompt) > limit:  # The sizes do not add up exactly.
        chosen.pop()
        prompt = encode([examples[k] for k in chosen])
    return prompt, [examples[k] for k in chosen]


def _within(room: int, sizes: Sequence[int]) -> list[int]:
    """Return the positions of the examples that fit into `room` tokens. Those far above the median are tried last."""
    ordinary = 2 * statistics.median(sizes)
    chosen = []
    for k in sorted(range(len(sizes)), key=lambda k: sizes[k] > ordinary):
        if sizes[k] <= room:
            chosen.append(k)
            room -= sizes[k]
    return sorted(chosen)
