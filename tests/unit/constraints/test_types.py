"""Each type of constraint: answers that keep it and answers that do not, and what holds for all of them."""

from __future__ import annotations

import random
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfinstruct.constraints import HELD_OUT, TRAINING, TYPES, draw, is_held_out, keeps
from selfinstruct.errors import InputError
from selfinstruct.records import Constraint, with_constraints

EXAMPLES: dict[str, tuple[dict[str, Any], list[str], list[str]]] = {
    "length/at_least_words": ({"n": 4}, ["a b c d", "写一首诗", "Ein Hund, der bellt."], ["a b c", "诗 - 写一", "Ja."]),
    "length/at_most_words": ({"n": 3}, ["a - b, c!", "写首诗"], ["a b c d", "写一首诗"]),
    "length/words_between": ({"low": 2, "high": 3}, ["a b", "d'un mot ici"], ["a", "a b c d"]),
    "length/at_most_characters": ({"n": 5}, ["12345", "  12345  "], ["123456"]),
    "length/exact_sentences": (
        {"n": 2},
        ["One. Two!", "Dr. Li waits. She has 3.5 h.", "一。二。", "- one\n- two", "एक बात। दो बात।"],
        ["One.", "One. Two. Three?", "1. one"],
    ),
    "length/at_most_sentences": ({"n": 2}, ["One.", "One. Two."], ["One. Two. Three.", "一。二。三。"]),
    "length/one_sentence": ({}, ["Yes, e.g. this.", "好。"], ["Yes. No."]),
    "length/short_sentences": ({"n": 3}, ["One two three. Four five."], ["One two three four. Five."]),
    "length/exact_paragraphs": ({"n": 2}, ["a\n\nb", "a\nb\n \n\nc"], ["a\nb", "a\n\nb\n\nc"]),
    "length/one_paragraph": ({}, ["a b", "a b\n"], ["a\nb"]),
    "length/exact_lines": ({"n": 2}, ["a\nb", "a\n\nb", "```\na\nb\n```"], ["a", "a\nb\nc"]),
    "keywords/word": (
        {"word": "garden"},
        ["My GARDEN.", "the **garden**", "garden-party"],
        ["gardens", "gardener", "flowers"],
    ),
    "keywords/all_words": ({"words": ["tea", "诗"]}, ["tea: 写诗吧"], ["tea", "诗", "steam 诗"]),
    "keywords/word_often": ({"word": "ja", "n": 2}, ["Ja, ja."], ["Ja.", "Jawohl, ja"]),
    "keywords/word_once": ({"word": "größe"}, ["Die GRÖSSE zählt"], ["Größe an Größe", "groß"]),
    "keywords/digits": ({"n": 2}, ["3.5 and 10,000", "१ २"], ["3,000", "three and four"]),
    "keywords/for_example": ({}, ["Take this, for example.", "For instance"], ["An example"]),
    "keywords/long_word": ({"n": 6}, ["A garden."], ["A park.", "ab123456"]),
    "forbidden/word": ({"word": "very"}, ["every day"], ["Very good"]),
    "forbidden/words": ({"words": ["good", "some"]}, ["goods, somehow"], ["It is good.", "some"]),
    "forbidden/letter": ({"letter": "z"}, ["a b c"], ["Zoo", "size"]),
    "forbidden/digits": ({}, ["three"], ["3", "٣"]),
    "forbidden/first_person": ({}, ["It rains in Rome.", "mining"], ["I think", "That's my hat.", "i’m here"]),
    "case/lower": ({}, ["all small, 3", "größe"], ["All small", "123", "写诗"]),
    "case/upper": ({}, ["ALL LARGE, 3", "GRÖSSE"], ["ALL Large", "写诗ok", "写诗", "كتابة"]),
    "case/some_capitals": ({"n": 2}, ["A VERY GOOD day", "ÄRGER und WUT"], ["A VERY good day", "I AM"]),
    "case/capital_line_starts": ({}, ["One. Two.\n- Three", "写诗。"], ["One. two.", "One\ntwo"]),
    "case/no_shouting": ({}, ["A day, I say"], ["A NASA day"]),
    "lists/bullets": ({"n": 2}, ["So:\n* a\n  - b", "• a\n• b"], ["* a", "*a\n*b", "- a\n- b\n- c"]),
    "lists/numbered": ({"n": 2}, ["1. a\n2. b", "Hm\n1) a\n\n2) b"], ["1. a\n3. b", "1. a", "1. a\n2. b\n3. c"]),
    "lists/dashes_only": ({}, ["- a\n- b\n\n- c"], ["So:\n- a", "* a"]),
    "lists/none": ({}, ["a - b\nc"], ["- a", "Well:\n1. a"]),
    "markup/headings": ({"n": 2}, ["# a\nb\n## c"], ["# a", "#a\n#b"]),
    "markup/bold": ({"n": 1}, ["a **b c** d"], ["a *b* c", "** a **", "a ** b"]),
    "markup/table": ({}, ["| a | b |\n|---|:-:|\n| 1 | 2 |"], ["| a | b |", "a | b"]),
    "markup/code_block": ({}, ["```\na\n```", "```text\na\nb\n```"], ["a", "So:\n```\na\n```", "```a```"]),
    "markup/parts": ({"n": 2}, ["a\n***\nb", "a\n\n***\n\nb"], ["a", "***\na", "a\n***\nb\n***\nc"]),
    "markup/plain": ({}, ["a b * c"], ["**a**", "# a", "- a", "`a`"]),
    "json/object": ({}, ['{"a": 1}', '```json\n{"a": "é"}\n```'], ["{a: 1}", "[1]", 'So: {"a": 1}']),
    "json/keys": ({"keys": ["a", "b"]}, ['{"b": 1, "a": {}}'], ['{"a": 1}', '{"a": 1, "b": 2, "c": 3}', "a b"]),
    "json/strings": ({"n": 2}, ['["a", "ü"]'], ['["a"]', '["a", 1]', '{"a": "b"}']),
    "edges/starts_with": ({"phrase": "In short,"}, ["In short, yes", '"in short, yes"'], ["Yes, in short, yes"]),
    "edges/ends_with": ({"phrase": "That is all."}, ["Yes. That is all.", "that is all.*"], ["That is all. Yes."]),
    "edges/first_word": ({"word": "garden"}, ["Garden, my", "**garden** x"], ["Gardens", "My garden"]),
    "edges/last_word": ({"word": "garden"}, ["my garden.", "GARDEN"], ["garden it", "gardens"]),
    "edges/ends_in_question": ({}, ["Why?", "好吗？", 'He said "why?"'], ["Why? So."]),
    "edges/postscript": ({}, ["Hi\nP.S. More", "Hi\n\n**PS:** x"], ["Hi", "P.S. More\nHi", "Psalms it is", "Hi\nP.S."]),
    "edges/title": (
        {},
        ["Title: A\nb", "**Title:** A\n\nb", "# Title: A\nb"],
        ["Title: A", "A\nTitle: b", "Title:\nb"],
    ),
    "edges/full_stop": ({}, ["Yes.", "好。"], ["Yes!", "Yes", 'He said "yes."']),
    "punctuation/no_commas": ({}, ["a b"], ["a, b", "一，二", "一、二", "أ، ب"]),
    "punctuation/no_exclamation": ({}, ["a."], ["a!", "好！"]),
    "punctuation/exclamation": ({"n": 2}, ["a! b!", "好！！"], ["a!"]),
    "punctuation/question": ({"n": 1}, ["a? b", "好吗？"], ["a."]),
    "punctuation/brackets": ({"n": 1}, ["a (b) c", "一（二）"], ["a (b", "()"]),
    "punctuation/semicolon": ({}, ["a; b", "一；二"], ["a, b"]),
    "punctuation/wrapped_in_quotes": ({}, ['"a b"', "„Ja“", "«Oui»"], ['"a" b', '"', "a"]),
    "punctuation/quotation": ({}, ['a "b" c', "„Ja“, sagt er", "「是」"], ["a 'b'", 'a "b']),
    "language/written_in": (
        {"language": "German"},
        ["Der Hund schläft heute unter dem großen Tisch in der Küche."],
        ["The dog sleeps under the large table in the kitchen today."],
    ),
}


def constraint(name: str) -> Constraint:
    return Constraint(name, EXAMPLES[name][0], "")


@pytest.mark.parametrize("name", TYPES)
def test_answers_that_keep_it_and_answers_that_do_not(name: str) -> None:
    _, kept, broken = EXAMPLES[name]
    assert kept and broken
    assert [text for text in kept if not keeps(text, constraint(name))] == []
    assert [text for text in [*broken, "", " \n"] if keeps(text, constraint(name))] == []


@pytest.mark.parametrize("name", TYPES)
def test_each_wording_says_every_parameter(name: str) -> None:
    kind = TYPES[name]
    parameters = kind.draw(random.Random(1))
    assert len(set(kind.phrasings)) == len(kind.phrasings) >= 3
    for phrasing in kind.phrasings:
        assert {field for _, field, _, _ in string.Formatter().parse(phrasing) if field} == set(parameters)


@given(st.sampled_from(sorted(TYPES)), st.integers(0, 1000), st.text(max_size=200))
def test_any_text_can_be_checked_with_drawn_parameters(name: str, seed: int, text: str) -> None:
    drawn = TYPES[name].drawn(random.Random(seed))
    assert drawn == TYPES[name].drawn(random.Random(seed))
    assert keeps(text, drawn) in (True, False)


@given(st.integers(0, 10_000))
def test_constraints_of_one_answer_share_no_aspect(seed: int) -> None:
    drawn = draw(random.Random(seed), TRAINING, 3)
    assert 1 <= len(drawn) <= 3
    aspects = [aspect for one in drawn for aspect in TYPES[one.type].aspects]
    assert len(aspects) == len(set(aspects))


def test_types_for_training_and_for_evaluation_are_disjoint_and_stay_what_they_are() -> None:
    assert set(TRAINING).isdisjoint(HELD_OUT)
    assert {*TRAINING, *HELD_OUT} == set(TYPES)
    assert (len(TRAINING), len(HELD_OUT)) == (33, 25)
    assert is_held_out("json/object")
    assert not is_held_out("keywords/word")
    for name, kind in TYPES.items():
        assert not kind.variant_of or is_held_out(kind.variant_of) == is_held_out(name)


def test_an_unknown_type_and_unknown_parameters_are_named() -> None:
    with pytest.raises(InputError, match="no type of constraint 'case/none'"):
        keeps("a", Constraint("case/none", {}, ""))
    with pytest.raises(InputError, match=r"'length/at_most_words' cannot be checked with \{'m': 1\}"):
        keeps("a", Constraint("length/at_most_words", {"m": 1}, ""))


@pytest.mark.parametrize(
    ("request_text", "expected"),
    [
        ("Name a river", "Name a river. Be brief."),
        ("Name a river.", "Name a river. Be brief."),
        ("Which river is that?", "Which river is that? Be brief."),
        ("Correct this:\n\nIt are late", "Correct this:\n\nIt are late\n\nBe brief."),
    ],
)
def test_the_sentences_follow_the_request(request_text: str, expected: str) -> None:
    assert with_constraints(request_text, [Constraint("x", {}, "Be brief.")]) == expected
    assert with_constraints(request_text, []) == request_text
