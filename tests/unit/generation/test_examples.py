"""Which examples a prompt shows, in which frame, and how many fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.formats import seed_tasks
from selfinstruct.generation.examples import Examples, can_be_shown, few_shot_examples, fit, instances_of
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


@pytest.mark.parametrize("text", ["Input: x", "Example 2", "a\nTask: b", "## Input: y"])
def test_a_marked_frame_shows_such_a_seed(text: str) -> None:
    task = seed((f"first\n{text}", "b"), ("c", f"d\n{text}"))
    marked = Examples.of([task], ENGLISH)
    assert marked.frame.mark
    assert instances_of(task, marked.frame) == list(task.instances)


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
