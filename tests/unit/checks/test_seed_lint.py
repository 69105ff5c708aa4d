"""Remarks on seed tasks: each thing that is worth knowing is named with its task."""

from __future__ import annotations

from selfinstruct.checks import seed_lint
from selfinstruct.generation.frame import load_frame
from selfinstruct.records import Instance, SeedTask


def task(task_id: str, instruction: str, *instances: Instance, name: str = "") -> SeedTask:
    return SeedTask(task_id, instruction, instances or (Instance("", "Elbe"),), False, name)


def test_advice_names_what_is_worth_knowing() -> None:
    tasks = [
        task("a", "Name a long river in Asia.", name="n"),
        task("b", "Name a long river in Africa.", name="n"),
        task("c", "Draw it."),
        task("d", "Say how many there are.", Instance("a\nInput: x", "y")),
    ]
    remarks = "\n".join(seed_lint.advice(tasks, load_frame()))
    assert "no classification task: the prompts that need one use packaged examples" in remarks
    assert "name 'n' is used 2 times" in remarks
    assert "b: nearly the same as a (ROUGE-L F 0.833)" in remarks
    assert "c: the filters would reject such an instruction: too_short" in remarks
    assert "d: " in remarks


def test_advice_on_classification_tasks() -> None:
    one_label = SeedTask("s1", "Name a river.", (Instance("a", "yes"), Instance("b", "yes")), True)
    remarks = "\n".join(seed_lint.advice([one_label], load_frame()))
    assert "only classification tasks" in remarks
    assert "s1: all instances have the label 'yes'" in remarks
