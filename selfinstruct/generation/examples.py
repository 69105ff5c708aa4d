"""The examples of a prompt: which tasks it shows, in which frame, and how many of them fit."""

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
    """Tasks to show with their instances, and the frame that can show all of them.

    The frame is the plain one unless a line of an instance opens as the prompt's own lines do. Then it is a marked one.
    """

    tasks: tuple[SeedTask, ...]
    frame: Frame

    @classmethod
    def of(cls, tasks: Sequence[SeedTask], frame: Frame) -> Examples:
        """Return the tasks with the frame that can show all of them.

        Args:
            tasks: come from `showable`.
            frame: the plain frame.
        """
        plain = all(can_be_shown(task, frame) for task in tasks)
        return cls(tuple(tasks), frame if plain else _marked(tasks, frame))


def instances_of(task: SeedTask, frame: Frame) -> list[Instance]:
    """Return the instances that the parsers read in the task's own block of a prompt."""
    block = output_first_block(task, frame) if task.is_classification else input_first_block(task, frame)
    parse = parse_output_first if task.is_classification else parse_input_first
    parsed = parse(block.partition("\n")[2], truncated=False, frame=frame)
    return [Instance(p.input, p.output) for p in parsed if p.fault is None]


def can_be_shown(task: SeedTask, frame: Frame) -> bool:
    """Return whether the task's instances survive a round trip through the instance prompts.

    They do not if one of their lines opens as a line of the prompt does ("Input:", "Example 2"). Such a line would
    mislead a model. A marked frame can show them.
    """
    return instances_of(task, frame) == list(task.instances)


def showable(tasks: Sequence[SeedTask], frame: Frame, wanted: int) -> list[SeedTask]:
    """Return the tasks that prompts can show: in the plain frame if they are enough, else also those that need a mark.

    Args:
        tasks: of one kind.
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
        to_show: with their instances.
        to_classify: with the answer to the question whether they are classification tasks.
        remarks: why they are not the user's own.
    """

    to_show: tuple[SeedTask, ...]
    to_classify: tuple[SeedTask, ...]
    remarks: tuple[str, ...]

    @classmethod
    def of(
        cls, seeds: Sequence[SeedTask], borrowed: Sequence[SeedTask], kind: bool, frame: Frame, wanted: int
    ) -> ExampleChoice:
        """Choose among the seeds; if none of them can be shown, borrow.

        Args:
            seeds: the user's own.
            borrowed: shown where the user's own cannot be.
            kind: whether these are the classification tasks, or all others.
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
    """Draw up to `most` tasks from the shorter half, so that many fit into the context."""
    sized = sorted(tasks, key=lambda task: sum(len(i.input) + len(i.output) for i in task.instances))
    half = sized[: max(most, len(sized) // 2)]
    return draw.sample(half, min(most, len(half)))


def mixed(yes: Sequence[SeedTask], no: Sequence[SeedTask], most: int, draw: random.Random) -> list[SeedTask]:
    """Draw about two classification tasks to three others (the paper shows 12 and 19), spread evenly over the list.

    Evenly, because a prompt that must be cut for a small context is cut at the end.
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
    """Return the seeds to show, the same for every question so that the prefix cache can reuse them.

    They are drawn from the shorter half of the seeds, so that many fit.

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
    """Return the prompt with all examples that fit, in their order.

    An example that is far longer than the others gets only the room that they leave.

    Args:
        encode: makes the prompt with these examples.
        examples: the examples to show.
        limit: the number of tokens that the prompt may have.
        count: counts the tokens of a prompt.

    Returns:
        The prompt and its examples, or None when even the prompt without examples is too long.
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
    """Return which of the examples go into the room: one after the other, those far longer than the median at last."""
    ordinary = 2 * statistics.median(sizes)
    chosen = []
    for k in sorted(range(len(sizes)), key=lambda k: sizes[k] > ordinary):
        if sizes[k] <= room:
            chosen.append(k)
            room -= sizes[k]
    return sorted(chosen)
