"""Remarks on a seed file: what is allowed, but worth knowing before a long run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from selfinstruct.config.schema import Filters
from selfinstruct.generation.examples import showable
from selfinstruct.generation.filters import heuristics
from selfinstruct.generation.frame import load_frame
from selfinstruct.novelty import NoveltyIndex
from selfinstruct.records import SeedTask


def advice(tasks: Sequence[SeedTask]) -> list[str]:
    """Return remarks on the seeds as a whole and on single tasks."""
    remarks = []
    if not any(t.is_classification for t in tasks):
        remarks.append("no classification task: the prompts that need one use packaged examples")
    if all(t.is_classification for t in tasks):
        remarks.append("only classification tasks: the prompts that need another kind use packaged examples")
    names = Counter(t.name for t in tasks if t.name)
    remarks += [f"name {name!r} is used {n} times" for name, n in names.items() if n > 1]
    shown = showable(tasks, load_frame(), len(tasks))
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
        if task not in shown:
            remarks.append(
                f"{task.id}: an instance would be read otherwise in a prompt, so it is not used as an example"
            )
        labels = {i.output for i in task.instances}
        if task.is_classification and len(task.instances) > 1 and len(labels) == 1:
            remarks.append(f"{task.id}: all instances have the label {next(iter(labels))!r}")
    return remarks
