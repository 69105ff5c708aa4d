"""Answers of all steps: thinking, yes and no, answers to questions, and text made of marks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.generation import instance_parsing, parsing, proposal_parsing
from selfinstruct.records import Style
from tests.growth import assert_linear


def texts(answer: str, style: Style = "chat", *, truncated: bool = False) -> list[str]:
    found = proposal_parsing.parse_proposal(answer, truncated=truncated, num_examples=8, num_new=8, style=style)
    return [candidate.text for candidate in found]


@given(st.text(st.sampled_from("Task Exmpl:12.*#-`\n<>hink/IOL"), max_size=200))
def test_text_made_of_markers_can_be_parsed(answer: str) -> None:
    for truncated in (False, True):
        texts(answer, truncated=truncated)
        instance_parsing.parse_input_first(answer, truncated=truncated)
        instance_parsing.parse_output_first(answer, truncated=truncated)
        parsing.parse_classification(answer)


UNITS = [
    " ",
    "\t",
    "*",
    "#",
    "-",
    "\n",
    "Task ",
    "<think>",
    "</think>",
    "```\n",
    "```a\n",
    "~~~\n```\n",
    "`",
    "(",
    "1.",
    "a ",
]
UNITS += [
    "Task:\n",
    "Input:\n",
    "Output: x\n",
    "Example 1\n```\n",
    "9. a. 10. ",
    "任务9：",
    "\u200b",
    "---\n",
    "Input (",
    "word1",
]


def read_all(answer: str) -> None:
    texts(answer)
    instance_parsing.parse_input_first(answer, truncated=True)
    parsing.parse_classification(answer)
    parsing.parse_answer(answer)


@pytest.mark.parametrize("unit", UNITS)
def test_parsing_takes_work_in_proportion_to_the_answer(unit: str) -> None:
    assert_linear(read_all, unit)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (" Yes", True),
        (" No\n", False),
        ("yes.", True),
        ("NO", False),
        ("**Yes**", True),
        ("`No`", False),
        ('"Yes"', True),
        ("Classification: Yes", True),
        ("**Classification:** No", False),
        ("Answer: No", False),
        ("Yes, because the answers are fixed.", True),
        ("<think>No fixed set? It is.</think>\nYes", True),
        ("```\nNo\n```", False),
        ("Maybe", None),
        ("Yesterday", None),
        ("Nothing", None),
        ("Yes or No", None),
        ("yes/no", None),
        ("<think>No", None),
        ("", None),
    ],
)
def test_classification_answers(answer: str, expected: bool | None) -> None:
    assert parsing.parse_classification(answer) is expected


@given(st.text())
def test_any_text_can_be_parsed_as_a_classification(answer: str) -> None:
    assert parsing.parse_classification(answer) in (True, False, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" Paris.", "Paris."),
        (" Paris.\nExample 2\nInput: x", "Paris."),
        (" Paris.\nExample 12:\nOutput: x", "Paris."),
        (" Two sums.\n\nExample 1\n1 + 1\n\nExample 2\n2 + 2", "Two sums.\n\nExample 1\n1 + 1\n\nExample 2\n2 + 2"),
        (" Paris.\n\nTask: Next\nExample 1\nOutput: x", "Paris."),
        (" Paris.\n\nTask: Next\n\nOutput: x", "Paris."),
        (" Paris.\nInput: next\nOutput: x", "Paris."),
        (" Paris.\nInput: 5", "Paris.\nInput: 5"),
        ("\n\nTask: nothing\nExample 1\nOutput: x", ""),
        (" Dear Sam,\nTask: clean up.\nAnn", "Dear Sam,\nTask: clean up.\nAnn"),
        (" ```\nExample 2\n\nTask: x\n```", "```\nExample 2\n\nTask: x\n```"),
        (" A plan.\n\nTask 1: Book.", "A plan.\n\nTask 1: Book."),
        (" An Example 2 of it\nExample 2 shows more", "An Example 2 of it\nExample 2 shows more"),
        ("Task: in the first line", "Task: in the first line"),
        ("", ""),
    ],
)
def test_parse_answer(text: str, expected: str) -> None:
    answer, _ = parsing.parse_answer(text)
    assert answer == expected


@pytest.mark.parametrize(
    ("text", "expected", "doubtful"),
    [
        (" Hello.\n\nTask: Book a van.\nDue: Friday.", "Hello.\n\nTask: Book a van.\nDue: Friday.", True),
        (" For example:\nInput: 3\nOutput: 9", "For example:", True),
        (" Hello.\nTask: Book a van.", "Hello.\nTask: Book a van.", False),
        (" Hello.\n\nTask: Next.\nExample 1\nOutput: x", "Hello.", False),
    ],
)
def test_an_answer_that_may_be_cut_or_may_hold_more_is_doubtful(text: str, expected: str, doubtful: bool) -> None:
    answer, fault = parsing.parse_answer(text)
    assert (answer, fault is not None) == (expected, doubtful)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Paris", "Paris"),
        ("<think>a</think> Paris", "Paris"),
        ("hm, so</think>\nParis", "Paris"),
        ("\n<think>cut in the", ""),
        ("In HTML, <think> is no tag", "In HTML, <think> is no tag"),
    ],
)
def test_strip_thinking(text: str, expected: str) -> None:
    assert parsing.strip_thinking(text) == expected
