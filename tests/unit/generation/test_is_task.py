"""The question whether a text is a task: texts whose answer is known, the prompt, what a verdict decides."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.engines.base import RequestFailed
from selfinstruct.formats import seed_tasks
from selfinstruct.generation.frame import LANGUAGES, load_frame
from selfinstruct.generation.is_task import KnownTexts, Text, encode_is_task, log_odds, non_task, objection, verdict
from selfinstruct.records import Completion, Instance, SeedTask
from selfinstruct.run.lines import Failure, Verdict


def seed(instruction: str, output: str = "", text: str = "") -> SeedTask:
    return SeedTask(instruction, instruction, (Instance(text, output),), False)


TRAM = seed("Say why the tram is late.", "Snow lies on the rails.\nIt will melt. Why?", "The tram is late. Wait here!")


def made(task: SeedTask, kind: int) -> set[str]:
    return {non_task(task, kind, random.Random(n)) for n in range(40)}


def test_what_is_no_task_is_made_from_a_seed() -> None:
    assert made(TRAM, 0) == {"Snow lies on the rails."}, "the other sentence is short"
    assert made(TRAM, 1) == {"The tram is late."}
    assert {tuple(sorted(text.split())) for text in made(TRAM, 2)} == {tuple(sorted(TRAM.instruction.split()))}
    assert made(TRAM, 3) == {"tram is late."}


def test_where_there_is_no_sentence_the_words_are_shuffled() -> None:
    bare = seed("Name three rivers.", "Rhine, Elbe, Oder")
    assert all(Counter(text.split()) == Counter(bare.instruction.split()) for text in made(bare, 0) | made(bare, 1))


def test_scripts_without_spaces_are_cut_and_shuffled_by_characters() -> None:
    poem = seed("写一首关于秋天的短诗。", "秋风吹过山谷，落叶铺满小路。")
    assert made(poem, 0) == {"秋风吹过山谷，落叶铺满小路。"}
    assert made(poem, 3) == {"秋天的短诗。"}
    assert {Counter(text) == Counter(poem.instruction) for text in made(poem, 2)} == {True}


@given(st.lists(st.text(min_size=1), min_size=0, max_size=40, unique=True), st.integers(0, 99))
def test_no_text_is_both_shown_and_measured(texts: list[str], number: int) -> None:
    known = KnownTexts.of([seed(text, f"{text} It is so.") for text in texts], random.Random(number))
    assert not set(known.shown) & set(known.held_out)
    kinds = Counter(text.is_task for text in known.shown)
    assert max(kinds.values(), default=0) <= min(8, len(texts) // 3)


def test_the_packaged_seeds_give_examples_of_both_kinds_and_enough_to_measure() -> None:
    seeds = seed_tasks.load_seed_tasks(["seed_tasks"])
    known = KnownTexts.of(seeds, random.Random("42/is_task"))
    assert Counter(text.is_task for text in known.shown) == {True: 8, False: 8}
    assert known == KnownTexts.of(seeds, random.Random("42/is_task"))
    held_out = Counter(text.is_task for text in known.held_out)
    assert min(held_out.values()) > 150
    assert {text.text for text in known.held_out if text.is_task} < {" ".join(s.instruction.split()) for s in seeds}


def test_the_prompt_is_text_that_ends_where_the_answer_belongs() -> None:
    asked = encode_is_task("Count\nthe birds.", [Text("Name a river.", True), Text("It rained.", False)], load_frame())
    assert asked.endswith(
        "\n\nText: Name a river.\nTask: Yes\n\nText: It rained.\nTask: No\n\nText: Count the birds.\nTask:"
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_asks_in_its_own_words(language: str) -> None:
    frame = load_frame(language)  # type: ignore[arg-type]
    others = [load_frame(other) for other in LANGUAGES if other != language]
    assert frame.is_task_header not in [other.is_task_header for other in others]
    assert encode_is_task("x", [], frame).startswith(frame.is_task_header)


def test_log_odds_are_those_of_the_first_choice() -> None:
    assert log_odds(Completion("No", "stop", 9, 1, {" Yes": -2.5, " No": -0.5})) == -2.0
    assert log_odds(Completion("No", "stop")) is None


def test_a_verdict_keeps_what_it_cost_or_why_there_is_none() -> None:
    assert verdict(3, Completion("Yes", "stop", 400, 1, {"Yes": -0.5, "No": -1.0})) == Verdict(3, 0.5, 400, 1)
    assert verdict(0, RequestFailed("refused", "too long")) == Verdict(0, failed=Failure("refused", "too long"))


def test_only_a_known_verdict_below_the_threshold_is_an_objection() -> None:
    found = objection(Verdict(0, -1.25), -1.0)
    assert found is not None
    assert (found.reason, found.evidence) == ("not_a_task", {"log_odds": -1.25, "threshold": -1.0})
    assert objection(Verdict(0, -1.0), -1.0) is None
    assert objection(Verdict(0, failed=Failure("refused", "")), -1.0) is None
    assert objection(None, -1.0) is None
