"""Remarks on a seed file: what is allowed, but worth knowing before a long run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from selfinstruct.checks.seed_stats import language_of
from selfinstruct.config.schema import Filters
from selfinstruct.generation.examples import Examples, can_be_shown
from selfinstruct.generation.filters import heuristics
from selfinstruct.generation.filters.instances import check_instances
from selfinstruct.generation.filters.row import Row
from selfinstruct.generation.filters.rows import RowCheck, row_check
from selfinstruct.generation.frame import Frame
from selfinstruct.generation.instance_parsing import ParsedInstance
from selfinstruct.generation.languages import language_remark
from selfinstruct.novelty import NoveltyIndex
from selfinstruct.records import SeedTask
from selfinstruct.text import evidence_text

OVERLAP = 0.7
"""A seed with a greater ROUGE-L F than this with an evaluation task would be trained on it."""
_HIDDEN_INPUT = re.compile(r"\n\s*\n\s*(?=\S)|:\s*\n\s*(?=\S)|(?:[\w)]: )(?=[\"“„«][^\"”“»]+[\"”“»]\W*\Z)")
"""A blank line or a colon at a line's end with a text behind it, or a colon with a quotation at the end."""
_LEAST_HIDDEN = 8
"""Words behind it that make it an input."""
_MOST_LISTED = 5
_MOST_OF_ONE = 0.5
"""Share of the tasks, or of the labels, that one kind has at most, without a remark."""
_LEAST_TASKS = 8
"""With fewer seeds, no shares are printed."""
_ALL_OF_OUTPUTS = Filters(refusal="reject", url="off", personal_data="off")


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
    remarks += _balance(tasks) + _language_mix(tasks) + _overlap(tasks, evaluation)
    names = Counter(t.name for t in tasks if t.name)
    remarks += [f"name {name!r} is used {n} times" for name, n in names.items() if n > 1]
    check = heuristics(Filters(), [t.instruction for t in tasks])
    index, rows = NoveltyIndex(threshold=0.7), row_check(_ALL_OF_OUTPUTS, frame)
    for task in tasks:
        rejection = check(task.instruction)
        if rejection is not None:
            why = f"{rejection.reason} {evidence_text(rejection.evidence)}".rstrip()
            remarks.append(f"{task.id}: the filters would reject such an instruction: {why}")
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
        remarks += [f"{task.id}: {fault}" for fault in _suspicious(task, rows)]
        labels = {i.output for i in task.instances}
        if task.is_classification and len(task.instances) > 1 and len(labels) == 1:
            remarks.append(f"{task.id}: all instances have the label {next(iter(labels))!r}")
    return remarks


def hidden_input(task: SeedTask) -> str | None:
    """Return the text that an instruction brings along although it is an input; None if there is none.

    Such an instruction is good for one instance only, and generated ones will be like it.
    """
    heading = _HIDDEN_INPUT.search(task.instruction)
    text = task.instruction[heading.end() :].strip() if heading else ""
    return text if len(text.split()) >= _LEAST_HIDDEN else None


def _suspicious(task: SeedTask, rows: RowCheck) -> list[str]:
    """Return what would reject the instances of a task if a model had written them."""
    parsed = [ParsedInstance(each.input, each.output) for each in task.instances]
    objections = [
        rows(Row(task.instruction, each.input, each.output, task.is_classification)).rejection for each in parsed
    ]
    decided = check_instances(parsed, max_instances=len(parsed), of_rows=objections)
    return [
        f"suspicious output of instance {k}: {rejection.reason} {evidence_text(rejection.evidence)}".rstrip()
        for k, rejection in enumerate(decided)
        if rejection is not None
    ]


def _balance(tasks: Sequence[SeedTask]) -> list[str]:
    """Return remarks on what most tasks or labels are."""
    if len(tasks) < _LEAST_TASKS:
        return []
    remarks = []
    classification = [task for task in tasks if task.is_classification]
    if _MOST_OF_ONE * len(tasks) < len(classification) < len(tasks):
        remarks.append(f"{len(classification)} of {len(tasks)} tasks are classification tasks")
    labels = Counter(each.output.strip().casefold() for task in classification for each in task.instances)
    categories = Counter(task.category for task in tasks if task.category)
    for counts, said, of in (
        (labels, "answers of classification tasks are", labels.total()),
        (categories, "tasks are of one category,", len(tasks)),
    ):
        name, number = max(counts.items(), key=lambda each: each[1], default=("", 0))
        if of >= _LEAST_TASKS and number > _MOST_OF_ONE * of:
            remarks.append(f"{number} of {of} {said} {name!r}")
    return remarks


def _language_mix(tasks: Sequence[SeedTask]) -> list[str]:
    """Return a remark if instructions are in several languages: which, and the tasks of all but the most frequent."""
    spoken = {task.id: language_of(task) for task in tasks}
    counts = Counter(filter(None, spoken.values()))
    if len(counts) < 2:
        return []
    (most, _), *_ = counts.most_common()
    others = [f"{name} ({code})" for name, code in spoken.items() if code not in ("", most)]
    shown = ", ".join(f"{code} {number}" for code, number in counts.most_common())
    more = f" and {len(others) - _MOST_LISTED} more" if len(others) > _MOST_LISTED else ""
    return [f"instructions in several languages: {shown}; {', '.join(others[:_MOST_LISTED])}{more}"]


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
