"""Tasks about what words mean and how they sound."""

from __future__ import annotations

import random
from collections.abc import Callable

from tools.demo_model.families.base import Family
from tools.demo_model.families.text import items
from tools.demo_model.lexicon import ANTONYMS, CATEGORIES, CATEGORY_OF, PAST, PLAIN_WORDS, PLURALS, RHYMES
from tools.demo_model.wording import Choice, Labels, Params

_WORDS = "[word|words|word or words]"
_GIVEN = ("word", "word or list of words", "list of words")
_RHYME_GROUP = {word: k for k, group in enumerate(RHYMES) for word in group}
_LETTER = Choice.of("a b c d e g h i k l m n o p r s t u w".split())
_LIKENESS = Labels(tuple(name for name in CATEGORIES if name not in ("clothes", "furniture")), 2, 4)
_YES_NO = "[Answer|Reply|Answer with|Reply with] yes or no"


def _some(rng: random.Random, words: list[str]) -> str:
    """Return one word of the list, or two or three with commas."""
    return ", ".join(rng.sample(words, rng.choice((1, 1, 2, 3))))


def each_word(table: dict[str, str]) -> Callable[[Params, str], str | None]:
    """Return a solver that looks up every word of a comma list."""

    def solve(params: Params, text: str) -> str | None:
        answers = [table.get(word) for word in text.split(", ")]
        return ", ".join(answer for answer in answers if answer) if all(answers) else None

    return solve


def _draw_rhyme(rng: random.Random, params: Params) -> str:
    first, other = rng.sample(RHYMES, 2)
    word, partner = rng.sample(first, 2)
    if rng.random() < 0.5:
        partner = rng.choice(other)
    return f"{word} and {partner}"


def _rhymes(params: Params, text: str) -> str | None:
    groups = [_RHYME_GROUP.get(word) for word in text.split(" and ")]
    if len(groups) != 2 or None in groups:
        return None
    return "yes" if groups[0] == groups[1] else "no"


def _draw_odd(rng: random.Random, params: Params) -> str:
    one, other = rng.sample(list(CATEGORIES), 2)
    members = rng.sample([w for w in CATEGORIES[one] if w in CATEGORY_OF], 3)
    members.append(rng.choice([w for w in CATEGORIES[other] if w in CATEGORY_OF]))
    rng.shuffle(members)
    return ", ".join(members)


def _odd(params: Params, text: str) -> str | None:
    kinds = {word: CATEGORY_OF.get(word, "?") for word in items(text)}
    lonely = [word for word, kind in kinds.items() if list(kinds.values()).count(kind) == 1]
    return lonely[0] if len(kinds) > 2 and len(lonely) == 1 else None


def _draw_member(rng: random.Random, params: Params) -> str:
    return rng.choice([w for w in CATEGORIES[rng.choice(params["kinds"])] if w in CATEGORY_OF])


def _kind(params: Params, text: str) -> str | None:
    kind = CATEGORY_OF.get(text)
    return kind if kind in params["kinds"] else None


def _draw_lettered(rng: random.Random, params: Params) -> str:
    has = rng.random() < 0.5
    return rng.choice([w for w in PLAIN_WORDS if (params["letter"] in w) == has])


def _same_or_not(rng: random.Random, params: Params) -> str:
    one, other = rng.sample(PLAIN_WORDS, 2)
    return f"{one} and {one if rng.random() < 0.5 else other}"


def _same(params: Params, text: str) -> str | None:
    pair = text.split(" and ")
    return ("same" if pair[0] == pair[1] else "different") if len(pair) == 2 else None


def _draw_lengths(rng: random.Random, params: Params) -> str:
    one, other = rng.sample(PLAIN_WORDS, 2)
    while len(one) == len(other):
        other = rng.choice(PLAIN_WORDS)
    return f"{one} and {other}"


def _by_length(params: Params, text: str) -> str | None:
    pair = text.split(" and ")
    return params["length"](pair, key=len) if len(pair) == 2 and len(pair[0]) != len(pair[1]) else None


FAMILIES = (
    Family(
        "antonyms",
        asks=(
            f"[write|give|find|name] the opposite of the {_WORDS}",
            f"what is the opposite of the {_WORDS}?",
            f"[write|give|find] [an|the] antonym [of|for] the {_WORDS}",
            f"[turn|change] the {_WORDS} into [its opposite|the opposite]",
        ),
        reserved=("[which|what] word means the opposite?", "write [the|a] word that means the opposite of the word"),
        input_names=_GIVEN,
        lookup=True,
        draw=lambda rng, params: _some(rng, list(ANTONYMS)),
        solve=each_word(ANTONYMS),
    ),
    Family(
        "plurals",
        asks=(
            f"[write|give|find|form] the plural of the {_WORDS}",
            f"what is the plural of the {_WORDS}?",
            f"[turn|change|put] the {_WORDS} into the plural",
            f"[write|give] the plural form of the {_WORDS}",
        ),
        reserved=("what do you call more than one of the thing?", f"use the plural in place of the {_WORDS}"),
        input_names=(*_GIVEN, "noun"),
        lookup=True,
        draw=lambda rng, params: _some(rng, list(PLURALS)),
        solve=each_word(PLURALS),
    ),
    Family(
        "past tense",
        asks=(
            "[write|give|find|form] the past tense of the [verb|verbs]",
            "what is the past tense of the [verb|verbs]?",
            "[turn|change|put] the [verb|verbs] into the past[ tense|]",
            "[write|give] the past form of the [verb|verbs]",
        ),
        reserved=(
            "how do you say the verb [when it was yesterday|in the past]?",
            "write the verb as it is in the past",
        ),
        input_names=("verb", "verb or list of verbs", "list of verbs"),
        lookup=True,
        draw=lambda rng, params: _some(rng, list(PAST)),
        solve=each_word(PAST),
    ),
    Family(
        "longer or shorter words",
        asks=(
            "[write|give|name|choose|pick] the {length} of the two words",
            "which of the two words is {length}?",
            "which word is the {length} one?",
        ),
        reserved=("compare the two words and write the {length} one",),
        input_names=("pair of words",),
        slots={"length": Choice({"longer": max, "shorter": min})},
        draw=_draw_lengths,
        solve=_by_length,
        short=True,
    ),
    Family(
        "odd one out",
        asks=(
            "[find|name|write|give] the odd [one|word] out[ in the list|]",
            "which [word|item] does not [belong|fit] [in the list|with the others|to the group]?",
            "[write|name|find] the [word|item] that does not [belong|fit] [in the list|with the others|to the group]",
        ),
        reserved=(
            "which one of the words is not like the others?",
            "one word is of a different kind: which one is it?",
        ),
        input_names=("list of words", "group of words", "short list of words"),
        draw=_draw_odd,
        solve=_odd,
        short=True,
    ),
    Family(
        "rhymes",
        asks=(
            f"do the two words rhyme? {_YES_NO}",
            "[say|decide|tell me] whether the two words rhyme[ with each other|], yes or no",
            "[answer|write] yes if the two words [rhyme|sound alike at the end], and no [otherwise|if they do not]",
        ),
        reserved=("answer yes or no: do the words sound alike at the end?",),
        input_names=("pair of words",),
        draw=_draw_rhyme,
        solve=_rhymes,
        is_classification=True,
    ),
    Family(
        "letters in a word",
        asks=(
            f"does the [given |]word [contain|have] the letter {{letter}}? {_YES_NO}",
            "[say|decide|tell me] whether the letter {letter} is in the [given |]word, yes or no",
            (
                "[answer|write] yes if the [given |]word [contains|has] the letter {letter}, "
                "and no [otherwise|if it does not]"
            ),
        ),
        reserved=("answer yes or no: is there [a letter|the letter] {letter} in the word?",),
        input_names=("word", "single word", "short word"),
        slots={"letter": _LETTER},
        draw=_draw_lettered,
        solve=lambda params, text: ("yes" if params["letter"] in text else "no") if text.isalpha() else None,
        is_classification=True,
    ),
    Family(
        "kinds of things",
        asks=(
            "does the [given |]word [belong to|go with|fit] {kinds}?",
            "[classify|label|sort] the [given |]word as {kinds}",
            "[which|what] group does the [given |]word belong to: {kinds}?",
            "[choose|pick|say|write] the [right |]group [for|of] the [given |]word: {kinds}",
        ),
        reserved=("what kind of thing is it: {kinds}?", "put the word into one of these groups: {kinds}"),
        input_names=("word", "single word", "thing"),
        slots={"kinds": _LIKENESS},
        draw=_draw_member,
        solve=_kind,
        is_classification=True,
    ),
    Family(
        "same or different",
        asks=(
            "are the two words [the same|alike] or different? [Answer|Reply|Write] same or different",
            "[say|decide|write] whether the two words are same or different",
            "[label|mark] the pair [of words |]as same or different",
        ),
        reserved=("compare the words and answer same or different",),
        input_names=("pair of words",),
        draw=_same_or_not,
        solve=_same,
        is_classification=True,
    ),
)
