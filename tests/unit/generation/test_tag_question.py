"""The question what a task is about, and the answers to it that count."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.engines.base import RequestFailed
from selfinstruct.generation.tag_question import encode, parse
from selfinstruct.records import TAG_VALUES, Instance, Tags, Task

PLAN = Tags("planning", "medium", "none", "en")


def written(**changed: object) -> str:
    return json.dumps({"category": "planning", "difficulty": "medium", "input": "none", "language": "en"} | changed)


@pytest.mark.parametrize(
    "text",
    [
        written(),
        f"Here it is:\n```json\n{written()}\n```",
        f"{written()}\n\n[Task]\n{{}}",
        written(category=" Planning", language="EN", reason="it says so"),
    ],
)
def test_the_first_object_of_an_answer_is_read(text: str) -> None:
    assert parse(text) == PLAN


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no_tags"),
        ("planning, medium", "no_tags"),
        (written()[:-5], "no_tags"),
        (written(difficulty=2), "no_tags"),
        ('{"category": "planning"}', "no_tags"),
        (written(category="poetry"), "unknown_tag"),
        (written(language="english"), "unknown_tag"),
    ],
)
def test_other_answers_are_none(text: str, reason: str) -> None:
    with pytest.raises(RequestFailed) as failed:
        parse(text)
    assert failed.value.reason == reason


@given(st.fixed_dictionaries({kind: st.sampled_from(values) for kind, values in TAG_VALUES.items()}))
def test_every_allowed_answer_is_read(tags: dict[str, str]) -> None:
    assert parse(json.dumps(tags)) == Tags(**tags)


@given(st.text())
def test_no_text_breaks_the_parser(text: str) -> None:
    with contextlib.suppress(RequestFailed):
        parse(text)


def test_the_question_shows_the_task_and_names_every_value() -> None:
    task = Task("p000000-00", "Plan a {day}.", (Instance("in Rome", "x"), Instance("in Oslo", "y")), False, "generated")
    for chat in (True, False):
        request = encode(task, chat=chat)
        text = request.prompt if isinstance(request.prompt, str) else request.prompt[0]["content"]
        assert "Plan a {day}." in text and "in Rome" in text and "in Oslo" not in text
        assert all(value in text for kind in ("category", "difficulty", "input") for value in TAG_VALUES[kind])
        assert request.fields == TAG_VALUES
