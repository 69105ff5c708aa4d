"""Which examples a prompt shows, in which frame, and how many fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.formats import seed_tasks
from selfinstruct.generation.examples import (
    ExampleChoice,
    Examples,
    can_be_shown,
    few_shot_examples,
    fit,
    instances_of,
    showable,
)
from selfinstruct.generation.frame import load_frame
from selfinstruct.generation.parsing import one_line
from selfinstruct.records import Instance, Prompt, SeedTask

ENGLISH = load_frame()


def seed(*instances: tuple[str, str], is_classification: bool = False) -> SeedTask:
    return SeedTask("s", "Do what the text says.", tuple(Instance(*i) for i in instances), is_classification)


@pytest.mark.parametrize("text", ["Input: x", "Example 2", "a\nTask: b", "Label: c", "**Output:** d"])
def test_a_seed_that_holds_a_marker_cannot_be_shown(text: str) -> None:
    assert can_be_shown(seed(("a", "b")), ENGLISH)
    assert not can_be_shown(seed((f"first\n{text}", "b")), ENGLISH)


field = st.text("abcdefgh äж写\n.,!", min_size=1, max_size=80).map(str.strip).filter(bool)


@given(st.lists(st.tuples(field, field), min_size=1, max_size=6))
def test_no_instance_is_lost_or_altered(instances: list[tuple[str, str]]) -> None:
    task = seed(*instances)
    assert instances_of(task, ENGLISH) == list(task.instances)
    labels = seed(*((given, one_line(label)) for given, label in instances), is_classification=True)
    assert instances_of(labels, ENGLISH) == list(labels.instances)


def test_few_shot_examples_are_short_and_stay(seed_file: Path) -> None:
    long = SeedTask("long", "Write.", (Instance("", ("word " * 500).strip()),), False)
    broken = SeedTask("broken", "Write.", (Instance("", "text\nInput: of a field"),), False)
    tasks = [long, broken, *seed_tasks.load_seed_tasks([seed_file])]
    shown = few_shot_examples(tasks, 4, 1, ENGLISH).tasks
    assert len(shown) == 4
    for number in range(20):
        assert not {"long", "broken"} & {task.id for task in few_shot_examples(tasks, 4, number, ENGLISH).tasks}
    assert shown == few_shot_examples(tasks, 4, 1, ENGLISH).tasks
    assert shown != few_shot_examples(tasks, 4, 2, ENGLISH).tasks
    all_of_them = few_shot_examples(tasks, 99, 1, ENGLISH)
    assert len(all_of_them.tasks) == 12
    assert all_of_them.frame.mark, "only a marked frame shows all"


# ------------------------------------------------------------------------------------------------- fitting


def words(prompt: Prompt) -> int:
    return len(str(prompt).split())


@pytest.mark.parametrize("limit", range(14))
def test_fit_shows_as_many_examples_as_there_is_room_for(limit: int) -> None:
    fitted = fit(lambda shown: "x x x " + " ".join(shown), ["x x"] * 4, limit, words)
    if limit < 3:
        assert fitted is None
    else:
        assert fitted is not None
        assert len(fitted[1]) == min(4, (limit - 3) // 2)
        assert words(fitted[0]) == 3 + 2 * len(fitted[1])


@pytest.mark.parametrize("place", [0, 3, 7])
@pytest.mark.parametrize("limit", [20, 300])
def test_an_example_that_is_far_too_long_leaves_all_others_in_the_prompt(place: int, limit: int) -> None:
    examples = [f"example {k}" for k in range(8)]
    examples[place] = "long " * 290
    fitted = fit(lambda shown: "header " + "\n".join(shown), examples, limit, words)
    assert fitted is not None
    assert fitted[1] == [example for k, example in enumerate(examples) if k != place]


@given(st.lists(st.integers(1, 60), max_size=12), st.integers(0, 120))
def test_a_fitted_prompt_keeps_the_order_and_leaves_out_nothing_that_fits(sizes: list[int], limit: int) -> None:
    examples = [(k, "x " * size) for k, size in enumerate(sizes)]

    def encode(shown: Sequence[tuple[int, str]]) -> Prompt:
        return "a b c " + "".join(text for _, text in shown)

    fitted = fit(encode, examples, limit, words)
    assert (fitted is None) == (limit < 3)
    if fitted is not None:
        prompt, kept = fitted
        assert prompt == encode(kept)
        assert words(prompt) <= limit
        assert kept == [example for example in examples if example in kept]
        assert all(words(encode([*kept, left])) > limit for left in examples if left not in kept)


# ---------------------------------------------------------------------------------- seeds that need a marked frame

LIKE_A_MARK = [
    "Input: x",
    "Task: y\nOutput: z",
    "Example 1",
    "first\nExample 2\nInput: x",
    "### Input: x",
]


@pytest.mark.parametrize("kind", [True, False])
@pytest.mark.parametrize("text", LIKE_A_MARK)
def test_a_seed_whose_text_looks_like_a_mark_is_shown_in_a_marked_frame(text: str, kind: bool) -> None:
    label = "d" if kind else f"d\n{text}"
    task = seed((f"given\n{text}", "b"), ("c", label), is_classification=kind)
    plain = seed(("a", "b"), is_classification=kind)
    assert not can_be_shown(task, ENGLISH)
    assert showable([task, plain], ENGLISH, 12) == [task, plain]
    examples = Examples.of([task, plain], ENGLISH)
    assert examples.frame.mark == ("#### " if text.startswith("###") else "### ")
    assert [instances_of(shown, examples.frame) for shown in examples.tasks] == [
        list(task.instances),
        list(plain.instances),
    ]


def test_where_enough_seeds_can_be_shown_in_the_plain_frame_no_other_is() -> None:
    task, plain = seed(("a\nInput: x", "b")), seed(("a", "b"))
    assert showable([task, plain, plain], ENGLISH, 2) == [plain, plain]
    assert Examples.of([plain], ENGLISH).frame == ENGLISH


lines = st.lists(
    st.sampled_from(
        ["Input: x", "Output:", "Example 2", "Task: y", "# a", "## b", "### c", "#### Input: d", "text", "```"]
    )
)


@given(st.lists(st.tuples(lines, lines), min_size=1, max_size=3))
def test_a_marked_frame_opens_no_line_as_the_texts_do(pairs: list[tuple[list[str], list[str]]]) -> None:
    task = seed(*(("\n".join(first), "\n".join(second) or "x") for first, second in pairs))
    frame = ENGLISH.marked(text for i in task.instances for text in (i.input, i.output))
    assert not any(
        line.startswith(frame.mark)
        for i in task.instances
        for text in (i.input, i.output)
        for line in text.splitlines()
    )


def test_seeds_that_cannot_be_shown_at_all_are_named_and_others_are_borrowed() -> None:
    odd = SeedTask("odd", "Answer with nothing.", (Instance("<noinput>", "b"),), False)
    choice = ExampleChoice.of([odd], [seed(("a", "b"))], False, ENGLISH, 12)
    assert choice.to_show == (seed(("a", "b")),)
    assert choice.to_classify == (odd,)
    (remark,) = choice.remarks
    assert "its instances would be read otherwise (odd, for example)" in remark
    assert "packaged ones in English" in remark
