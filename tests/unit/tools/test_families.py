"""The families' wordings, generators and checkers agree with each other."""

from __future__ import annotations

import random

import pytest

from selfinstruct.config.schema import Filters
from selfinstruct.generation.filters import heuristics
from tools.demo_model.families import FAMILIES, Family
from tools.demo_model.instructions import FORMS, compose, recognise
from tools.demo_model.wording import Choice, Labels, pattern, say

EACH_FAMILY = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


@EACH_FAMILY
def test_a_family_recognises_its_own_instructions_and_accepts_its_own_answers(family: Family) -> None:
    rng = random.Random(1)
    for k in range(30):
        text, asked = compose(family, rng, reserved=k % 3 == 0)
        understood = recognise(text)
        assert understood is not None, text
        assert (understood.family.name, understood.params, understood.form) == (family.name, asked.params, asked.form)
        instance = asked.instance(rng)
        assert instance is not None
        assert understood.is_right(instance.input, instance.output), (text, instance)


@EACH_FAMILY
def test_a_family_rejects_wrong_answers(family: Family) -> None:
    rng = random.Random(2)
    for _ in range(10):
        _, asked = compose(family, rng)
        instance = asked.instance(rng)
        assert instance is not None
        for wrong in ("", "zebra", f"{instance.output} and more"):
            assert not asked.is_right(instance.input, wrong)


def test_names_are_unique() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


def test_reserved_wordings_are_not_training_wordings() -> None:
    rng = random.Random(3)
    for family in FAMILIES:
        reserved = family.patterns[len(family.asks) :]
        for _ in range(50):
            text, _ = compose(family, rng)
            assert not any(wording.search(text) for wording in reserved), (family.name, text)


def test_a_sixteenth_of_the_instances_is_reserved() -> None:
    (sorting,) = [family for family in FAMILIES if family.name == "sorting numbers"]
    held_back = sum(sorting.reserves(f"{n}, {n + 1}", "") for n in range(4000))
    assert held_back == pytest.approx(250, rel=0.25)


@pytest.mark.parametrize(
    ("instruction", "text", "right", "wrong"),
    [
        ("What is the last word of the line? Put your answer in brackets.", "Mei has a cup.", "(cup)", "cup"),
        ("Please sort the words in reverse alphabetical order.", "ant, bee, cow", "cow, bee, ant", "ant, bee, cow"),
        ("For a quiz, add 7 to the number.", "8", "15", "16"),
        ("Give the plural of the words.", "mouse, box", "mice, boxes", "mouses, boxes"),
        ("Turn the statement into a question.", "Omar sells a hat.", "Does Omar sell a hat?", "Omar sells a hat?"),
        ("Is the message about food, music or sport?", "The choir sang the last verse.", "music", "food"),
        ("Name three fruits, one per line.", "", "apple\nfig\nplum", "apple\nfig\ncar"),
    ],
)
def test_instructions_in_new_combinations_are_judged(instruction: str, text: str, right: str, wrong: str) -> None:
    asked = recognise(instruction)
    assert asked is not None
    assert asked.is_right(text, right)
    assert not asked.is_right(text, wrong)


@pytest.mark.parametrize("text", ["Compose a poem about the sea.", "", "Sort the planets by size."])
def test_instructions_of_no_family_are_not_judged(text: str) -> None:
    assert recognise(text) is None


def test_inputs_that_a_task_is_not_about_make_every_answer_wrong() -> None:
    asked = recognise("Add the two numbers.")
    assert asked is not None
    assert not asked.is_right("the red lamp", "7")


def test_forms_change_the_answer() -> None:
    assert {name: form.apply("cup") for name, form in FORMS.items()} == {
        "quotes": '"cup"',
        "brackets": "(cup)",
        "capitals": "CUP",
        "label": "Answer: cup",
        "stop": "cup!",
    }


def test_a_wording_matches_everything_it_can_say() -> None:
    slots = {"nth": Choice({"first": 0, "last": -1}), "kinds": Labels(("fruits", "tools", "jobs"))}
    wording = "[write|give] [only |]the {nth} [word|item] of a group: {kinds}"
    found = pattern(wording, slots)
    rng = random.Random(4)
    for _ in range(40):
        params = {name: slot.pick(rng) for name, slot in slots.items()}
        match = found.search(f"Please {say(wording, slots, params, rng)}.")
        assert match is not None
        assert {name: slots[name].read(words) for name, words in match.groupdict().items()} == params


def test_instructions_pass_the_generators_own_heuristics_unless_very_short() -> None:
    accepts = heuristics(Filters(), ["Seeds in Latin script."])
    rng = random.Random(5)
    texts = [compose(family, rng)[0] for family in FAMILIES for _ in range(20)]
    assert all(len(text.split()) <= 3 for text in texts if accepts(text) is not None)
