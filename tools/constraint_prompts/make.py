"""Write the packaged prompts under constraints: `python -m tools.constraint_prompts.make`.

    seeds/constraint_prompts.jsonl   two prompts for each request, with one or two constraints of held-out types
    seeds/ifeval_prompts.jsonl       prompts in IFEval's format, with constraints that lm-eval checks

Both are a function of `requests.txt` beside this file and of the types; each type comes up about equally often.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selfinstruct.constraints import HELD_OUT, TYPES, draw
from selfinstruct.constraints.keywords import WORDS
from selfinstruct.formats import jsonl
from selfinstruct.records import Constraint, with_constraints

HERE = Path(__file__).parent
SEEDS = HERE.parents[1] / "seeds"
NUM_IFEVAL = 160


def requests() -> list[str]:
    """Return the plain requests."""
    return HERE.joinpath("requests.txt").read_text(encoding="utf-8").splitlines()


def held_out_prompts() -> Iterator[dict[str, Any]]:
    """Yield prompts with constraints of held-out types; every second one has two where they go together."""
    for number in range(2 * len(requests())):
        request = requests()[number % len(requests())]
        constraints = _with(HELD_OUT[number % len(HELD_OUT)], number, 1 + number // len(HELD_OUT) % 2)
        written = [{"type": c.type, "parameters": c.parameters, "text": c.text} for c in constraints]
        yield {"id": f"held-out-{number:03d}", "request": request, "constraints": written}


def _with(first: str, number: int, count: int) -> tuple[Constraint, ...]:
    """Return `count` constraints, or one, of which the first is of this type."""
    rng = random.Random(f"constraints/{number}")
    constraint = TYPES[first].drawn(rng)
    fitting = [name for name in HELD_OUT if not set(TYPES[name].aspects) & set(TYPES[first].aspects)]
    return (constraint, *draw(rng, fitting, 1)) if count > 1 and fitting else (constraint,)


def _words(rng: random.Random) -> tuple[str, str]:
    one, other = rng.sample(WORDS, 2)
    return one, other


def ifeval_constraints(rng: random.Random) -> list[tuple[str, dict[str, Any], str]]:
    """Return one constraint of each kind as (IFEval's name, its arguments, the sentence)."""
    n, (one, other) = rng.randrange(2, 5), _words(rng)
    many, few = rng.randrange(50, 121, 10), rng.randrange(60, 151, 10)
    letter, code, language = rng.choice("aeirst"), *rng.choice((("de", "German"), ("fr", "French"), ("es", "Spanish")))
    return [
        ("punctuation:no_comma", {}, "There must be no comma in your reply."),
        (
            "length_constraints:number_words",
            {"relation": "at least", "num_words": many},
            f"Reply in {many} words or more.",
        ),
        (
            "length_constraints:number_words",
            {"relation": "less than", "num_words": few},
            f"Reply in fewer than {few} words.",
        ),
        (
            "length_constraints:number_sentences",
            {"relation": "less than", "num_sentences": n + 1},
            f"Your reply should have fewer than {n + 1} sentences.",
        ),
        (
            "length_constraints:number_sentences",
            {"relation": "at least", "num_sentences": n},
            f"Your reply should have {n} sentences at least.",
        ),
        (
            "length_constraints:number_paragraphs",
            {"num_paragraphs": n},
            f"Reply in {n} paragraphs, with a line that holds only *** between them.",
        ),
        ("keywords:existence", {"keywords": [one, other]}, f"The words {one} and {other} have to come up."),
        (
            "keywords:frequency",
            {"relation": "at least", "keyword": one, "frequency": n},
            f"The word {one} has to come up {n} times or more.",
        ),
        ("keywords:forbidden_words", {"forbidden_words": ["very", "good"]}, "Leave out the words very and good."),
        (
            "keywords:letter_frequency",
            {"letter": letter, "let_relation": "at least", "let_frequency": 3 * n},
            f"The letter {letter} has to come up {3 * n} times or more.",
        ),
        ("language:response_language", {"language": code}, f"Reply only in {language}, in no other language."),
        (
            "detectable_content:number_placeholders",
            {"num_placeholders": n},
            f"Leave {n} gaps or more to be filled in later, each a word in square brackets such as [name].",
        ),
        (
            "detectable_content:postscript",
            {"postscript_marker": "P.S."},
            "At the end there has to be a postscript after P.S.",
        ),
        (
            "detectable_format:number_bullet_lists",
            {"num_bullets": n},
            f"Reply with exactly {n} bullet points in Markdown, such as: * A point.",
        ),
        (
            "detectable_format:number_highlighted_sections",
            {"num_highlights": n},
            f"Highlight {n} passages or more in Markdown, such as *a passage*.",
        ),
        (
            "detectable_format:multiple_sections",
            {"section_spliter": "Section", "num_sections": n},
            f"Reply in {n} sections, and begin each with the word Section and its number, such as Section 1.",
        ),
        ("detectable_format:json_format", {}, "Your whole reply should be in JSON."),
        ("detectable_format:title", {}, "Give your reply a title in double angular brackets, such as <<a title>>."),
        ("change_case:english_lowercase", {}, "Reply in English, in small letters alone."),
        ("change_case:english_capital", {}, "Reply in English, in capital letters alone."),
        (
            "change_case:capital_word_frequency",
            {"capital_relation": "at least", "capital_frequency": n},
            f"Write {n} words or more in capitals throughout.",
        ),
        (
            "startend:end_checker",
            {"end_phrase": "Is there anything else?"},
            "Your reply has to end with exactly these words: Is there anything else?",
        ),
        ("startend:quotation", {}, "Wrap your whole reply in double quotation marks."),
        ("combination:two_responses", {}, "Give two different replies, with six asterisks (******) between them."),
    ]


_ALONE = ("combination:two_responses", "detectable_format:json_format", "language:response_language")
_PAIRED = ("punctuation:no_comma", "change_case:english_lowercase", "keywords:forbidden_words")
"""Kinds that go with almost every other: each third prompt has one of them beside its first."""


def ifeval_prompts() -> Iterator[dict[str, Any]]:
    """Yield prompts in IFEval's format."""
    for number in range(NUM_IFEVAL):
        rng = random.Random(f"ifeval/{number}")
        kinds = ifeval_constraints(rng)
        chosen = [kinds[number % len(kinds)]]
        name, family = chosen[0][0], chosen[0][0].partition(":")[0]
        if number % 3 == 0 and name not in _ALONE:
            chosen += [kind for kind in kinds if kind[0] in _PAIRED and not kind[0].startswith(family)][:1]
        sentences = [Constraint(name, kwargs, text) for name, kwargs, text in chosen]
        request = requests()[(7 * number + 3) % len(requests())]
        yield {
            "key": number,
            "prompt": with_constraints(request, sentences),
            "instruction_id_list": [name for name, _, _ in chosen],
            "kwargs": [kwargs for _, kwargs, _ in chosen],
        }


def main() -> None:
    """Write both files."""
    jsonl.write(SEEDS / "constraint_prompts.jsonl", held_out_prompts())
    jsonl.write(SEEDS / "ifeval_prompts.jsonl", ifeval_prompts())


if __name__ == "__main__":
    main()
