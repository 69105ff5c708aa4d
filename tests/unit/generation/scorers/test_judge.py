"""The judge: what it is asked, and how its grade is read."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.engines.base import Request, RequestFailed
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.generation.scorers import judge
from selfinstruct.generation.scorers.interface import RatedAnswer
from selfinstruct.records import Completion
from selfinstruct.run.answer_scores import Place

ANSWER = RatedAnswer(Place("p000001-00", 0, 2), "Name a river.", "The Rhine.")


def graded(text: str, logprobs: dict[str, float] | None = None) -> Completion:
    return Completion(text, "stop", 90, 1, choice_logprobs=logprobs)


def test_the_score_is_the_mean_of_the_grades_by_their_probabilities() -> None:
    half = math.log(0.5)
    assert judge.parse(graded("4", {"1": -30.0, "2": -30.0, "3": half, "4": half, "5": -30.0})) == 3.5
    # Only what the five grades have among themselves counts.
    tenth = math.log(0.1)
    assert judge.parse(graded("1", {"1": tenth, "2": -30.0, "3": -30.0, "4": -30.0, "5": tenth})) == 3.0


@given(st.lists(st.floats(-700, 0), min_size=5, max_size=5))
def test_a_score_is_between_the_least_and_the_greatest_grade(logprobs: list[float]) -> None:
    value = judge.parse(graded("3", dict(zip(judge.GRADES, logprobs, strict=True))))
    assert value is not None and 1 <= value <= 5


@pytest.mark.parametrize(
    ("text", "value"),
    [("4", 4.0), (" **5**", 5.0), ("2/5", 2.0), ("3.", 3.0), ("10", None), ("45", None), ("good: 4", None), ("", None)],
)
def test_without_probabilities_the_written_grade_counts(text: str, value: float | None) -> None:
    assert judge.parse(graded(text)) == value


def test_probabilities_that_are_all_nothing_leave_the_written_grade() -> None:
    assert judge.parse(graded("2", dict.fromkeys(judge.GRADES, -1000.0))) == 2.0


async def test_the_judge_sees_request_and_answer_and_may_write_grades_only() -> None:
    engine = ScriptedEngine(lambda request: graded("4"), has_chat_template=True)
    scored = await judge.Judge(engine, "m", "5: short").score(ANSWER)
    assert (scored.value, scored.completion) == (4.0, graded("4"))
    (request,) = engine.history
    assert request.choices == ("1", "2", "3", "4", "5") and request.key == "score/judge/p000001-00/0/2"
    assert isinstance(request.prompt, list)
    (message,) = request.prompt
    assert all(text in message["content"] for text in ("Name a river.", "The Rhine.", "5: short"))


async def test_a_model_without_a_chat_template_goes_on_with_a_text() -> None:
    asked: list[Request] = []

    def answer(request: Request) -> Completion:
        asked.append(request)
        return graded(" 3")

    assert (await judge.Judge(ScriptedEngine(answer), "m").score(ANSWER)).value == 3.0
    assert str(asked[0].prompt).endswith("\nNumber:") and asked[0].choices == (" 1", " 2", " 3", " 4", " 5")


async def test_no_grade_is_a_failure_of_this_answer() -> None:
    engine = ScriptedEngine(lambda request: graded("well done"), has_chat_template=True)
    with pytest.raises(RequestFailed, match="no_grade: 'well done'"):
        await judge.Judge(engine, "m").score(ANSWER)


def test_another_rubric_is_another_version() -> None:
    assert judge.version("5: good") == judge.version("5: good\n") != judge.version("5: short")
