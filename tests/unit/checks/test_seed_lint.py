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


def test_an_input_hidden_in_the_instruction() -> None:
    text = "The bus was late again today and nobody at the stop knew why it was so."
    hidden = task("h", f"Summarise this report:\n{text}")
    assert seed_lint.hidden_input(hidden) == text
    assert seed_lint.hidden_input(task("k", "Write a poem.\n\nKeep it short.")) is None
    assert "make it an `input`" in "\n".join(seed_lint.advice([hidden], load_frame()))


def test_one_category_that_outweighs_the_others() -> None:
    tasks = [
        SeedTask(f"t{k}", f"Name river {k}.", (Instance("", "Elbe"),), False, category="poems" if k else "lists")
        for k in range(20)
    ]
    assert "19 of 20 tasks are of one category, 'poems'" in seed_lint.advice(tasks, load_frame())


def test_a_seed_near_an_evaluation_task() -> None:
    remarks = seed_lint.advice(
        [task("s", "Name three long rivers of Africa.")], load_frame(), [task("e", "Name three long rivers of Asia.")]
    )
    assert "s: near the evaluation task e (ROUGE-L F 0.833)" in remarks
