"""Remarks on a seed file: what is allowed, but worth knowing before a long run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from selfinstruct.config.schema import Filters
from selfinstruct.generation.examples import Examples, can_be_shown
from selfinstruct.generation.filters import heuristics
from selfinstruct.generation.frame import Frame
from selfinstruct.generation.languages import language_remark
from selfinstruct.novelty import NoveltyIndex
from selfinstruct.records import SeedTask

OVERLAP = 0.7
"""A seed with a greater ROUGE-L F than this with an evaluation task would be trained on it."""
_HIDDEN_INPUT = re.compile(r"\n\s*\n\s*\S|:\s*\n\s*\S")
"""A blank line or a colon at a line's end, with a text behind it."""
_LEAST_HIDDEN = 12
"""Words behind it that make it an input."""
_MOST_OF_ONE = 0.5
"""Share of the tasks that one category has at most, without a remark."""


def advice(tasks: Sequence[SeedTask], frame: Frame, evaluation: Sequence[SeedTask] = ()) -> list[str]:
    """Return remarks on the seeds as a whole and on single tasks.

    Args:
        tasks: the seeds.
        frame: the words of the prompts.
        evaluation: tasks that models will be compared on; no seed should be near one.
    """
    remarks = language_remark(tasks, frame)
    if not any(t.is_classification for t in tasks):
        remarks.append("no classification task: the prompts that need one use packaged examples")
    if all(t.is_classification for t in tasks):
        remarks.append("only classification tasks: the prompts that need another kind use packaged examples")
    remarks += _balance(tasks) + _overlap(tasks, evaluation)
    names = Counter(t.name for t in tasks if t.name)
    remarks += [f"name {name!r} is used {n} times" for name, n in names.items() if n > 1]
    check = heuristics(Filters(), [t.instruction for t in tasks])
    index = NoveltyIndex(threshold=0.7)
    for task in tasks:
        rejection = check(task.instruction)
        if rejection is not None:
            remarks.append(
                f"{task.id}: the filters would reject such an instruction: {rejection.reason} {rejection.evidence}"
            )
        if (hidden := hidden_input(task)) is not None:
            remarks.append(f"{task.id}: the instruction brings its own input ({hidden[:40]!r} ...); make it an `input`")
        verdict = index.accept(task.instruction)
        if not verdict.accepted and verdict.nearest is not None:
            near = tasks[verdict.nearest.index]
            remarks.append(f"{task.id}: nearly the same as {near.id} (ROUGE-L F {verdict.nearest.score:.3f})")
            index.add(task.instruction)
        if not can_be_shown(task, frame):
            marked = Examples.of([task], frame).frame
            fault = "an instance would be read otherwise in a prompt, so it is not shown as an example"
            if can_be_shown(task, marked):
                fault = f"a line of it opens as prompts do; those that show it write {marked.opening(frame.input)!r}"
            remarks.append(f"{task.id}: {fault}")
        labels = {i.output for i in task.instances}
        if task.is_classification and len(task.instances) > 1 and len(labels) == 1:
            remarks.append(f"{task.id}: all instances have the label {next(iter(labels))!r}")
    return remarks


def hidden_input(task: SeedTask) -> str | None:
    """Return the text that an instruction brings along although it is an input; None if there is none.

    Such an instruction is good for one instance only, and generated ones will be like it.
    """
    heading = _HIDDEN_INPUT.search(task.instruction)
    text = task.instruction[heading.end() - 1 :].strip() if heading else ""
    return text if len(text.split()) >= _LEAST_HIDDEN else None


def _balance(tasks: Sequence[SeedTask]) -> list[str]:
    categories = Counter(task.category for task in tasks if task.category)
    if len(tasks) < 20 or not categories:
        return []
    name, number = categories.most_common(1)[0]
    return (
        [f"{number} of {len(tasks)} tasks are of one category, {name!r}"] if number > _MOST_OF_ONE * len(tasks) else []
    )


def _overlap(tasks: Sequence[SeedTask], evaluation: Sequence[SeedTask]) -> list[str]:
    """Return a remark for each seed that is near an evaluation task."""
    if not evaluation:
        return []
    index = NoveltyIndex((task.instruction for task in evaluation), threshold=OVERLAP)
    remarks = []
    for task in tasks:
        for near in index.nearest(task.instruction):
            if near.score > OVERLAP:
                which = evaluation[near.index].id
                remarks.append(f"{task.id}: near the evaluation task {which} (ROUGE-L F {near.score:.3f})")
    return remarks
