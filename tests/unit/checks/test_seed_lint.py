"""Remarks on seed tasks: each thing that is worth knowing is named with its task."""

from __future__ import annotations

import pytest

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


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        (
            "Translate it.\n\nThe bridge is closed until Monday for repairs.",
            "The bridge is closed until Monday for repairs.",
        ),
        ('What is the mood of this? Text: "The soup was cold and the waiter was rude."', '"The soup was'),
        ('Answer with one of these: "yes" or "no".', None),
        ('Explain this saying: "Still waters run deep."', None),
    ],
)
def test_a_short_or_quoted_text_is_an_input(instruction: str, expected: str | None) -> None:
    found = seed_lint.hidden_input(task("h", instruction))
    assert found is None if expected is None else str(found).startswith(expected)


@pytest.mark.parametrize(
    ("given_input", "output", "fault"),
    [
        ("", "As an AI language model, I cannot do that.", "refusal (words: As an AI language model)"),
        ("", "The reasons are:", "ends_in_colon"),
        ("water", "water", "output_equals_input"),
        ("", "[Your answer here]", "placeholder"),
        ("", "It ties things. " * 6, "loop (of: output; repeated: it ties things; copies: 6)"),
    ],
)
def test_a_suspicious_output(given_input: str, output: str, fault: str) -> None:
    doubtful = task("s", "Say what a long rope is for.", Instance("salt", "cooking"), Instance(given_input, output))
    remarks = seed_lint.advice([doubtful], load_frame())
    assert f"s: suspicious output of instance 1: {fault}" in remarks
    assert not any("instance 0" in remark for remark in remarks)


def test_languages_that_are_mixed() -> None:
    tasks = [
        task("e1", "Describe what the people of a small harbour do when the boats return in the morning."),
        task("e2", "Explain to a child how a bicycle pump works and why the air stays inside of the tube."),
        task("d", "Beschreibe den Hafen einer kleinen Stadt am Morgen."),
        task("z", "写一首关于大海的短诗。"),
    ]
    mixed = "instructions in several languages: en 2, de 1, Cjk 1; d (de), z (Cjk)"
    assert mixed in seed_lint.advice(tasks, load_frame())
    assert not any("languages" in remark for remark in seed_lint.advice(tasks[:2], load_frame()))


def test_a_class_and_a_label_that_outweigh_the_others() -> None:
    tasks = [
        SeedTask(f"t{k}", f"Is {k} a river?", (Instance("a", "Yes"), Instance("b", "yes" if k else "no")), True)
        for k in range(8)
    ]
    remarks = seed_lint.advice([*tasks, task("p", "Name a river.")], load_frame())
    assert "8 of 9 tasks are classification tasks" in remarks
    assert "15 of 16 answers of classification tasks are 'yes'" in remarks


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
