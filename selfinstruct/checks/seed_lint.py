"""Remarks on a seed file: what is allowed, but worth knowing before a long run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from selfinstruct.config.schema import Filters
from selfinstruct.generation.examples import Examples, can_be_shown
from selfinstruct.generation.filters import heuristics
from selfinstruct.generation.frame import Frame
from selfinstruct.generation.languages import language_remark
from selfinstruct.novelty import NoveltyIndex
from selfinstruct.records import SeedTask


def advice(tasks: Sequence[SeedTask], frame: Frame) -> list[str]:
    """Return remarks on the seeds as a whole and on single tasks, in prompts with the words of this frame."""
    remarks = language_remark(tasks, frame)
    if not any(t.is_classification for t in tasks):
        remarks.append("no classification task: the prompts that need one use packaged examples")
    if all(t.is_classification for t in tasks):
        remarks.append("only classification tasks: the prompts that need another kind use packaged examples")
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
