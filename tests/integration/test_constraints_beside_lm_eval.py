"""Our checks of constraints beside those of lm-eval, where IFEval has an instruction that asks for the same."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from selfinstruct.constraints import TYPES
from selfinstruct.formats import jsonl
from selfinstruct.packaged import packaged_folder
from tuning.evaluation.ifeval import Line, run_checks

pytestmark = pytest.mark.integration

WORDS = "length_constraints:number_words"
SENTENCES = "length_constraints:number_sentences"
CAPITALS = "change_case:capital_word_frequency"
Instructions = list[tuple[str, dict[str, Any]]]
"""Names and arguments of IFEval's instructions; an answer has to follow all of them."""


class Counterpart(NamedTuple):
    """What lm-eval checks in place of a type, and where the two may differ.

    Attributes:
        instructions: takes the type's parameters.
        ours_alone: why an answer may keep ours and not theirs; "" if that must not be.
        theirs_alone: the other way round.
    """

    instructions: Callable[[Mapping[str, Any]], Instructions]
    ours_alone: str = ""
    theirs_alone: str = ""


PART_OF_A_WORD = "IFEval counts `art` in `part`"
ENGLISH_ALONE = "IFEval also wants English, by a guess at short texts"
COUNTED = "IFEval counts `don't` and `2.5` as two words"
LINES = "IFEval ends no sentence at the end of a line, and takes code and abbreviations otherwise"

COUNTERPARTS = {
    "length/at_least_words": Counterpart(
        lambda p: [(WORDS, {"relation": "at least", "num_words": p["n"]})], COUNTED, COUNTED
    ),
    "length/at_most_words": Counterpart(
        lambda p: [(WORDS, {"relation": "less than", "num_words": p["n"] + 1})], COUNTED, COUNTED
    ),
    "length/words_between": Counterpart(
        lambda p: [
            (WORDS, {"relation": "at least", "num_words": p["low"]}),
            (WORDS, {"relation": "less than", "num_words": p["high"] + 1}),
        ],
        COUNTED,
        COUNTED,
    ),
    "length/at_most_sentences": Counterpart(
        lambda p: [(SENTENCES, {"relation": "less than", "num_sentences": p["n"] + 1})], LINES, LINES
    ),
    "markup/parts": Counterpart(
        lambda p: [("length_constraints:number_paragraphs", {"num_paragraphs": p["n"]})],
        theirs_alone="IFEval's divider need not have a line of its own",
    ),
    "keywords/word": Counterpart(
        lambda p: [("keywords:existence", {"keywords": [p["word"]]})], theirs_alone=PART_OF_A_WORD
    ),
    "keywords/all_words": Counterpart(
        lambda p: [("keywords:existence", {"keywords": p["words"]})], theirs_alone=PART_OF_A_WORD
    ),
    "keywords/word_often": Counterpart(
        lambda p: [("keywords:frequency", {"keyword": p["word"], "frequency": p["n"], "relation": "at least"})],
        theirs_alone=PART_OF_A_WORD,
    ),
    "forbidden/word": Counterpart(lambda p: [("keywords:forbidden_words", {"forbidden_words": [p["word"]]})]),
    "forbidden/words": Counterpart(lambda p: [("keywords:forbidden_words", {"forbidden_words": p["words"]})]),
    "forbidden/letter": Counterpart(
        lambda p: [
            (
                "keywords:letter_frequency",
                {"letter": p["letter"], "let_frequency": 1, "let_relation": "less than"},
            )
        ]
    ),
    "case/lower": Counterpart(lambda p: [("change_case:english_lowercase", {})], ENGLISH_ALONE),
    "case/upper": Counterpart(lambda p: [("change_case:english_capital", {})], ENGLISH_ALONE),
    "case/some_capitals": Counterpart(
        lambda p: [(CAPITALS, {"capital_relation": "at least", "capital_frequency": p["n"]})],
        theirs_alone="IFEval counts `I`, `A` and `B2`",
    ),
    "case/no_shouting": Counterpart(
        lambda p: [(CAPITALS, {"capital_relation": "less than", "capital_frequency": 1})],
        "IFEval counts `I`, `A` and `B2`",
    ),
    "lists/bullets": Counterpart(
        lambda p: [("detectable_format:number_bullet_lists", {"num_bullets": p["n"]})],
        "IFEval knows no bullets but `*` and `-`, and counts a line that begins with *italics*",
        "the same",
    ),
    "markup/bold": Counterpart(
        lambda p: [("detectable_format:number_highlighted_sections", {"num_highlights": p["n"]})],
        theirs_alone="IFEval also counts *italics*, and bold type twice",
    ),
    "json/object": Counterpart(
        lambda p: [("detectable_format:json_format", {})], theirs_alone='IFEval takes any JSON value, so "a" and 5/4'
    ),
    "edges/ends_with": Counterpart(lambda p: [("startend:end_checker", {"end_phrase": p["phrase"]})]),
    "edges/postscript": Counterpart(
        lambda p: [("detectable_content:postscript", {"postscript_marker": "P.S."})],
        theirs_alone="IFEval takes an empty postscript",
    ),
    "punctuation/no_commas": Counterpart(
        lambda p: [("punctuation:no_comma", {})], theirs_alone="IFEval knows no comma of other scripts"
    ),
    "punctuation/wrapped_in_quotes": Counterpart(lambda p: [("startend:quotation", {})]),
}
WITHOUT = {
    "length/exact_sentences",
    "length/one_sentence",
    "length/exact_paragraphs",
    "markup/headings",
    "json/keys",
    "json/strings",
    "edges/last_word",
    "edges/title",
    "language/written_in",
}
"""Kinds of IFEval's instructions, but asked for in another form, or compared by the types that they are variants of."""


def edited(answer: str, rng: random.Random) -> str:
    """Return an answer that keeps one of the rarer constraints."""
    sentences = answer.split(". ")
    return rng.choice(
        (
            answer.lower(),
            answer.upper(),
            f'"{answer}"',
            f"{answer}\n\nP.S. Write soon.",
            f"{answer} {rng.choice(('That is all.', 'I hope this helps.', 'Now it is your turn.'))}",
            "\n".join(f"* {sentence}" for sentence in sentences[: rng.randrange(3, 6)]),
            " ".join(f"**{word}**" if rng.random() < 0.1 else word for word in answer.split()),
            json.dumps({"answer": answer}),
            f"{answer}\n\n***\n\n{sentences[0]}",
            f"{rng.choice(('garden', 'water', 'morning'))} {answer}",
        )
    )


def answers() -> Iterator[str]:
    rng = random.Random(0)
    for _, task in jsonl.read(packaged_folder() / "seed_tasks.jsonl"):
        answer = task["instances"][0]["output"]
        yield answer
        yield edited(answer, rng)


def test_every_type_that_names_an_instruction_of_ifeval_is_compared() -> None:
    assert COUNTERPARTS.keys() | WITHOUT == {name for name, kind in TYPES.items() if kind.ifeval}
    assert not COUNTERPARTS.keys() & WITHOUT
    for name, counterpart in COUNTERPARTS.items():
        ids = {one for one, _ in counterpart.instructions(TYPES[name].draw(random.Random(0)))}
        assert ids == set(TYPES[name].ifeval)


def test_they_agree_but_for_the_reasons_that_are_named() -> None:
    rng = random.Random(1)
    asked = [(name, TYPES[name].draw(rng), answer) for answer in answers() for name in COUNTERPARTS]
    lines = []
    for name, parameters, answer in asked:
        ids, kwargs = zip(*COUNTERPARTS[name].instructions(parameters), strict=True)
        line = {"key": 0, "prompt": "", "instruction_id_list": list(ids), "kwargs": list(kwargs)}
        lines.append((Line.model_validate(line), answer))
    agreed = dict.fromkeys(COUNTERPARTS, 0)
    for (name, parameters, answer), theirs in zip(asked, run_checks(lines), strict=True):
        assert not theirs.error
        ours = TYPES[name].check(answer, parameters)
        agreed[name] += ours == all(theirs.strict)
        if ours != all(theirs.strict):
            reason = COUNTERPARTS[name].ours_alone if ours else COUNTERPARTS[name].theirs_alone
            assert reason, f"{name} {dict(parameters)}: {ours}, lm-eval {not ours}: {answer!r}"
    number = len(asked) / len(COUNTERPARTS)
    shares = {name: count / number for name, count in agreed.items()}
    assert min(shares.values()) > 0.7, shares  # case/no_shouting: most answers hold an `I` or an `A`.
    assert sum(shares.values()) / len(shares) > 0.95, shares
