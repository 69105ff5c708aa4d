"""Wordings, which both write instructions and recognise them in a text.

A wording is a line such as

    [write|copy|give] the {nth} word of the [sentence|line]

where `[a|b|c]` is a free choice of words and `{nth}` a slot whose value changes the request. To write, it makes one
choice of each. As a pattern, it matches all choices and reads the values of the slots. So a new combination of these
pieces that a model composes is recognised without any other rule.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

Params = Mapping[str, Any]
_PIECE = re.compile(r"\[([^\[\]]*)\]|\{(\w+)\}")


class Slot(Protocol):
    """A part of an instruction with a value: `say` writes the value in words, `read` reads it from them."""

    @property
    def pattern(self) -> str:
        """Return a regular expression, without named groups, that matches everything `say` can return."""

    def pick(self, rng: random.Random) -> Any:
        """Return a random value."""

    def say(self, value: Any, rng: random.Random) -> str:
        """Return words for a value."""

    def read(self, text: str) -> Any:
        """Return the value that the words mean."""


@dataclass(frozen=True)
class Choice:
    """A slot with a fixed vocabulary: words -> meaning. Several words may mean the same."""

    meanings: Mapping[str, Any]

    @classmethod
    def of(cls, words: Sequence[str]) -> Choice:
        """Return a slot whose values are the words themselves."""
        return cls({word: word for word in words})

    @cached_property
    def pattern(self) -> str:
        """Return the regular expression; see `Slot`."""
        longest_first = sorted(self.meanings, key=len, reverse=True)
        return "|".join(map(re.escape, longest_first))

    def pick(self, rng: random.Random) -> Any:
        """Return a random value; see `Slot`."""
        return self.meanings[rng.choice(list(self.meanings))]

    def say(self, value: Any, rng: random.Random) -> str:
        """Return words for a value; see `Slot`."""
        return rng.choice([words for words, meaning in self.meanings.items() if meaning == value])

    def read(self, text: str) -> Any:
        """Return the value of the words; see `Slot`."""
        return {words.casefold(): meaning for words, meaning in self.meanings.items()}[text.casefold()]


@dataclass(frozen=True)
class Labels:
    """A slot that names some of a set of labels: "sport, food or music"."""

    options: tuple[str, ...]
    fewest: int = 2
    most: int = 4

    @cached_property
    def pattern(self) -> str:
        """Return the regular expression; see `Slot`."""
        one = "(?:" + "|".join(map(re.escape, self.options)) + ")"
        return f"{one}(?:, {one})*,? or {one}"

    def pick(self, rng: random.Random) -> tuple[str, ...]:
        """Return a random value; see `Slot`."""
        return tuple(rng.sample(self.options, rng.randint(self.fewest, min(self.most, len(self.options)))))

    def say(self, value: tuple[str, ...], rng: random.Random) -> str:
        """Return words for a value; see `Slot`."""
        return f"{', '.join(value[:-1])} or {value[-1]}"

    def read(self, text: str) -> tuple[str, ...]:
        """Return the value of the words; see `Slot`."""
        return tuple(re.split(r",? or |, ", text.lower()))


def say(wording: str, slots: Mapping[str, Slot], params: Params, rng: random.Random) -> str:
    """Return a wording with these values of its slots and random free choices.

    Args:
        wording: with free choices and slots.
        slots: by name.
        params: value of each slot.
        rng: source of randomness.

    >>> say("name a [small ]{what}", {"what": Choice.of(["apple"])}, {"what": "apple"}, random.Random(0))
    'name an apple'
    """

    def piece(match: re.Match[str]) -> str:
        free, slot = match.groups()
        return rng.choice(free.split("|")) if slot is None else slots[slot].say(params[slot], rng)

    return one_article(" ".join(_PIECE.sub(piece, wording).split()))


def one_article(text: str) -> str:
    """Replace "a" by "an" before a vowel (not where "a" is the name of a letter)."""
    return re.sub(r"(?<!letter )\b([Aa]) (?=[aeiouAEIOU])", r"\1n ", text)


def pattern(wording: str, slots: Mapping[str, Slot]) -> re.Pattern[str]:
    """Return a regular expression that matches the wording, with any choices, inside a text; slots are named groups."""
    out, end = [], 0
    for match in _PIECE.finditer(wording):
        out.append(re.escape(wording[end : match.start()]))
        free, slot = match.groups()
        if slot is None:
            out.append("(?:" + "|".join(map(re.escape, free.split("|"))) + ")")
        else:
            out.append(f"(?P<{slot}>{slots[slot].pattern})")
        end = match.end()
    out.append(re.escape(wording[end:]))
    loose = "".join(out).replace(r"\ ", " ")
    loose = re.sub(r"(?<![A-Za-z])a (?!\|)", "an? ", loose)
    return re.compile(r"\b" + loose.replace(" ", r"\s*") + r"(?!\w)", re.I)


def slots_of(wording: str) -> list[str]:
    """Return the names of the slots in a wording, in order."""
    return [slot for _, slot in _PIECE.findall(wording) if slot]
