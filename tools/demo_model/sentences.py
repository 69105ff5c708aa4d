"""Simple sentences of the demo's world, and the words of interest in them.

>>> make(random.Random(2))
'Bianca packed three grey hats in Oslo.'
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Literal

from tools.demo_model.lexicon import CITIES, COLOURS, DAYS, NAMES, NUMBERS, PLURALS, THINGS, VERBS, Verb

Tense = Literal["past", "present", "future"]
TENSES: tuple[Tense, ...] = ("past", "present", "future")
PARTS = ("number", "colour", "city", "day")
"""Optional parts of a sentence, besides a person, a verb and a thing."""

_SETS: dict[str, frozenset[str]] = {
    "person": frozenset(NAMES),
    "city": frozenset(CITIES),
    "day": frozenset(DAYS),
    "colour": frozenset(COLOURS),
    "number": frozenset(NUMBERS),
    "thing": frozenset(THINGS) | frozenset(PLURALS[t] for t in THINGS),
}


def words(text: str) -> list[str]:
    """Return the words of a text without punctuation.

    >>> words("Is it red, or blue?")
    ['Is', 'it', 'red', 'or', 'blue']
    """
    return re.findall(r"[A-Za-z0-9'-]+", text)


def conjugate(verb: Verb, tense: Tense) -> str:
    """Return the verb in a tense, as it follows a name."""
    return {"past": verb.past, "present": verb.third, "future": f"will {verb.base}"}[tense]


def make(rng: random.Random, *, with_parts: Sequence[str] = (), tense: Tense | None = None) -> str:
    """Return a sentence about a person who does something with a thing.

    Args:
        rng: source of randomness.
        with_parts: parts of `PARTS` that the sentence must have; others are added at random.
        tense: of the verb; default: any.
    """
    name, verb, thing = rng.choice(NAMES), rng.choice(VERBS), rng.choice(THINGS)
    shown = {part for part in PARTS if part in with_parts or rng.random() < 0.3}
    colour = f"{rng.choice(COLOURS)} " if "colour" in shown else ""
    if "number" in shown:
        what = f"{rng.choice(NUMBERS[2:13])} {colour}{PLURALS[thing]}"
    else:
        article = "the" if rng.random() < 0.5 else "an" if (colour or thing)[0] in "aeiou" else "a"
        what = f"{article} {colour}{thing}"
    where = f" in {rng.choice(CITIES)}" if "city" in shown else ""
    when = f" on {rng.choice(DAYS)}" if "day" in shown else ""
    return f"{name} {conjugate(verb, tense or _any_tense(rng))} {what}{where}{when}."


def _any_tense(rng: random.Random) -> Tense:
    return rng.choice(TENSES)


def find(kind: str, text: str) -> str | None:
    """Return the only word of a kind ("person", "city", ...) in the text; None if there is none or more than one."""
    hits = [word for word in words(text) if word in _SETS[kind]]
    return hits[0] if len(hits) == 1 else None


def mentions(kind: str, text: str) -> bool:
    """Return whether the text contains a word of this kind."""
    return any(word in _SETS[kind] for word in words(text))


def kind_of(word: str) -> str | None:
    """Return the kind of a word ("person", "city", ...) in these sentences, or None."""
    return next((kind for kind, members in _SETS.items() if word in members), None)
