"""Inputs alone: how models really write them."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.generation import prompts
from selfinstruct.generation.frame import LANGUAGES, load_frame
from selfinstruct.generation.instance_parsing import parse_input_first, parse_input_only
from selfinstruct.records import Instance, SeedTask, Style


def inputs(answer: str, *, truncated: bool = False, instruction: str | None = None) -> list[tuple[str, str | None]]:
    parsed = parse_input_only(answer, truncated=truncated, instruction=instruction)
    assert all(one.output == "" for one in parsed)
    return [(one.input, one.fault and one.fault.reason) for one in parsed]


@pytest.mark.parametrize(
    "answer",
    [
        "Example 1\nInput: The tram was late.\nExample 2\nInput: She has\nread it.",
        "Here are two:\n\n**Example 1**\n**Input:** The tram was late.\n\n**Example 2**\n**Input:** She has\nread it.",
        "Input: The tram was late.\nInput: She has\nread it.",
        "Example 1\nThe tram was late.\nExample 2\nShe has\nread it.",
        "<think>Two.</think>\nExample 1\nInput: The tram was late.\nExample 2\nInput: She has\nread it.",
        "Example 1\nInput: The tram was late.\nOutput: Was it?\nExample 2\nInput: She has\nread it.\nOutput: Has she?",
    ],
)
def test_every_way_in_which_models_write_inputs(answer: str) -> None:
    assert inputs(answer) == [("The tram was late.", None), ("She has\nread it.", None)]


@pytest.mark.parametrize(
    "answer",
    ["Example 1\nInput: no input", "no input", "No input needed.", "Input: None", "Example 1\nOutput: A poem."],
)
def test_a_task_may_need_none(answer: str) -> None:
    assert inputs(answer) == [("", None)]


@pytest.mark.parametrize("said", ["Write a poem about tea.", "write a poem  about tea", "Write a poem about tea!"])
def test_an_input_that_only_says_the_task_again_is_none(said: str) -> None:
    assert inputs(f"Example 1\nInput: {said}", instruction="Write a poem about tea.") == [("", None)]
    assert inputs(f"Input: {said} Now.", instruction="Write a poem about tea.") == [(f"{said} Now.", None)]


def test_only_the_input_that_is_cut_is_rejected() -> None:
    assert inputs("Input: a\nInput: b", truncated=True) == [("a", None), ("b", "truncated")]
    # An output that was written all the same is not read, cut or not.
    assert inputs("Input: a\nOutput: It went on and", truncated=True) == [("a", None)]


def test_a_text_without_marks_holds_no_input() -> None:
    assert inputs("The tram was late, and she has read it.") == []
    assert inputs("no input", truncated=True) == []


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("style", get_args(Style))
def test_what_a_prompt_shows_is_read_back_in_every_language(language: str, style: Style) -> None:
    frame = load_frame(language)  # type: ignore[arg-type]
    task = SeedTask("s", "Do it.", (Instance("one\ntwo", "x"), Instance("three", "y"), Instance("three", "z")), False)
    block = prompts.input_only_block(task, frame).partition("\n")[2]
    read = parse_input_only(block, truncated=False, frame=frame)
    assert [one.input for one in read] == ["one\ntwo", "three"], "each input once"
    without = prompts.input_only_block(SeedTask("s", "Do it.", (Instance("", "x"),), False), frame)
    (one,) = parse_input_only(without.partition("\n")[2], truncated=False, frame=frame)
    assert one.input == "" and one.fault is None
    prompt = prompts.encode_input_only("Sort\nthem.", [task], style, frame)
    text = prompt if isinstance(prompt, str) else prompt[0]["content"]
    assert text.rstrip().endswith(frame.line(frame.task, "Sort them.")) and frame.opening(frame.output) not in text
    assert style == "completion" or frame.no_input[0] in text


@given(st.text(), st.booleans())
def test_any_text_is_read_without_an_error(answer: str, truncated: bool) -> None:
    for one in parse_input_only(answer, truncated=truncated, instruction="Sort them."):
        assert one.output == ""


# --------------------------------------------------------------------------------------------------- plain answers


def test_a_chat_model_that_just_does_the_task_has_answered_it() -> None:
    def plain(answer: str, *, truncated: bool = False) -> list[tuple[str, str, str | None]]:
        parsed = parse_input_first(answer, truncated=truncated, plain=True)
        return [(one.input, one.output, one.fault and one.fault.reason) for one in parsed]

    poem = "The kettle sings,\n\nthe evening clings."
    assert plain(f"<think>Tea.</think>{poem}") == [("", poem, None)]
    assert plain(poem, truncated=True) == [("", poem, "truncated")]
    assert plain(f"Example 1\nOutput: {poem}") == [("", poem, None)], "marks count as ever"
    assert plain("Task: Another one") == plain("") == []
    assert parse_input_first(poem, truncated=False) == [], "a base model's text without marks is none"
