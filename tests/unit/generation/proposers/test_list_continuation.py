"""The proposer `list` in chat: a list to continue, or earlier turns."""

from __future__ import annotations

from typing import Any

import pytest

from selfinstruct.config.proposing import Proposal
from selfinstruct.config.schema import PromptLanguage
from selfinstruct.generation.frame import LANGUAGES, load_frame
from selfinstruct.generation.proposers.list_continuation import ListContinuation
from selfinstruct.generation.proposers.topics import Topic
from selfinstruct.generation.proposers.wording import load_wording
from selfinstruct.records import Completion, OpenTurn, Style
from selfinstruct.run.lines import ProposalLine
from tests.unit.generation.proposers.test_plan_and_evolve import SEEDS, seen

TURNS = Proposal(chat_form="turns")


@pytest.mark.parametrize("language", LANGUAGES)
def test_examples_are_earlier_answers_to_the_same_request(language: PromptLanguage) -> None:
    frame = load_frame(language)
    asked = ListContinuation(TURNS, "chat", frame).ask(seen(1))
    messages: Any = asked.encode(asked.examples)
    assert [m["role"] for m in messages] == ["user", "assistant"] * 8 + ["user"]
    assert {m["content"] for m in messages if m["role"] == "user"} == {frame.proposal_turn_ask}
    assert [m["content"] for m in messages if m["role"] == "assistant"] == [e.text for e in asked.examples]
    assert asked.stop(8) == ()


def test_the_last_turn_names_the_topic() -> None:
    proposer = ListContinuation(TURNS, "chat", load_frame(), load_wording("en"))
    about = seen(1)
    messages: Any = proposer.ask(type(about)(SEEDS, about.pool, about.draw, Topic("bees"))).encode(())
    assert messages == [{"role": "user", "content": "Write a new task. The new task is about bees."}]


@pytest.mark.parametrize("answer", ["Name a boat.", "Task: Name a boat.", " **Name a boat.**\n\nHave fun!"])
def test_one_instruction_is_read(answer: str) -> None:
    proposer = ListContinuation(TURNS, "chat", load_frame())
    (found,) = proposer.parse(Completion(answer, "stop"), ProposalLine(0, ("s0",)))
    assert (found.text, found.fault) == ("Name a boat.", None)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_list_is_begun_in_the_models_own_turn_and_read_as_it_goes_on(language: PromptLanguage) -> None:
    frame = load_frame(language)
    proposer = ListContinuation(Proposal(chat_form="begun"), "chat", frame)
    asked = proposer.ask(seen(1))
    prompt: Any = asked.encode(asked.examples)
    assert isinstance(prompt, OpenTurn) and [m["role"] for m in prompt] == ["user", "assistant"]
    assert prompt[0]["content"] == frame.proposal_begun_ask
    begun = prompt[1]["content"].splitlines()
    assert begun[-1] == frame.opening(frame.task, 9) and begun[0].endswith(asked.examples[0].text)
    assert asked.stop(8)[0] == f"\n{frame.opening(frame.task, 17)}"
    answer = Completion(f" Name a boat.\n{frame.line(frame.task, 'Name a kite.', 10)}", "stop")
    line = ProposalLine(0, tuple(e.id for e in asked.examples))
    assert [found.text for found in proposer.parse(answer, line)] == ["Name a boat.", "Name a kite."]


@pytest.mark.parametrize(("style", "form"), [("completion", "turns"), ("chat", "list")])
def test_a_list_is_continued_otherwise(style: Style, form: Any) -> None:
    proposer = ListContinuation(Proposal(chat_form=form), style, load_frame())
    asked = proposer.ask(seen(1))
    prompt: Any = asked.encode(asked.examples)
    assert "Task 8: " in (prompt if isinstance(prompt, str) else prompt[0]["content"])
