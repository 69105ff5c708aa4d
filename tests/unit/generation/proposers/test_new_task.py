"""One new task in an answer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.generation.parsing import TRUNCATED
from selfinstruct.generation.proposers.new_task import read_new_task
from selfinstruct.records import Completion

WORDS = ("New task", "New instruction")


def read(text: str, finish: Any = "stop", **how: bool) -> list[tuple[str, bool]]:
    return [(one.text, one.fault == TRUNCATED) for one in read_new_task(Completion(text, finish), WORDS, **how)]


@pytest.mark.parametrize(
    "answer",
    [
        " Both name a thing.\nNew task: Name a boat.",
        "Plan: Both name a thing.\n\n**New task:** Name a boat.\n\nI hope this helps!",
        "Both.\n### New Task: **Name a boat.**",
        'Both.\n- **New instruction**: "Name a boat."',
        "Both.\nNew task:\nName a\nboat.",
        "<think>A new task: hm.\nNew task: no.</think>\nNew task：Name a boat.",
        "New task: Name a boat.\n\nNew task: Name a kite.",
    ],
)
def test_the_task_after_the_first_mark_is_read(answer: str) -> None:
    assert read(answer) == [("Name a boat.", False)]


@pytest.mark.parametrize(
    "answer", ["", "Both name a thing.", "A new task: Name a boat.", "New task:", "New task: \n\n"]
)
def test_without_a_mark_or_a_text_after_it_there_is_no_task(answer: str) -> None:
    assert read(answer) == []


def test_an_opened_task_needs_no_mark_and_may_repeat_it() -> None:
    assert (
        read(" Name a boat.", opened=True) == read("New task: Name a boat.", opened=True) == [("Name a boat.", False)]
    )


def test_a_task_is_cut_only_if_the_answer_was_and_nothing_follows_it() -> None:
    assert read("New task: Name a", "length") == [("Name a", True)]
    assert read("New task: Name a boat.\n\nThis", "length") == [("Name a boat.", False)]


@pytest.mark.parametrize("other", ["New task: Not what they seek.", "**Task:** Name a kite.", "TASK: Name"])
def test_a_task_ends_with_the_next_mark(other: str) -> None:
    answer = Completion(f"Both.\nNew task: Name a\nboat.\n{other}", "length")
    (task,) = read_new_task(answer, WORDS, ends=("Task",))
    assert (task.text, task.fault) == ("Name a boat.", None)


@given(st.text(alphabet='*"`“” \nNew task:：ab-#', max_size=60), st.booleans())
def test_any_answer_gives_at_most_one_line(text: str, opened: bool) -> None:
    tasks = read(text, opened=opened)
    assert len(tasks) <= 1 and all(task == " ".join(task.split()) != "" for task, _ in tasks)
