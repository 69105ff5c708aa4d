"""What a type of constraint is: its parameters, its wordings, its check."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from selfinstruct.errors import InputError
from selfinstruct.records import Constraint

Aspect = Literal["length", "words", "letters", "case", "layout", "start", "end", "punctuation", "language"]

ALL: tuple[Aspect, ...] = (
    "length",
    "words",
    "letters",
    "case",
    "layout",
    "start",
    "end",
    "punctuation",
    "language",
)
"""Aspects of a type that no other may be combined with."""


@dataclass(frozen=True, slots=True)
class ConstraintType:
    """A type of constraint on an answer.

    Attributes:
        name: `family/type`.
        holds: takes an answer that is not empty, and the parameters by name; returns whether the answer keeps it.
        draw: returns parameters, as JSON values.
        phrasings: sentences that say it, with `{parameter}`.
        aspects: what of an answer it fixes; two types with a common aspect are never combined.
        ifeval: names of the instructions of IFEval (arXiv 2311.07911) that ask for the same.
        variant_of: the type of which it is a variant, so that both are for training or both for evaluation.
        without: takes an answer and the parameters by name; returns the answer without what keeps the constraint. None:
            the parameters' words and phrases keep it.
    """

    name: str
    holds: Callable[..., bool]
    draw: Callable[[random.Random], Mapping[str, Any]]
    phrasings: tuple[str, ...]
    aspects: tuple[Aspect, ...]
    ifeval: tuple[str, ...] = ()
    variant_of: str = ""
    without: Callable[..., str] | None = None

    def drawn(self, rng: random.Random) -> Constraint:
        """Return a constraint of this type with drawn parameters and wording."""
        parameters = dict(self.draw(rng))
        return Constraint(self.name, parameters, self.said(rng.randrange(len(self.phrasings)), parameters))

    def said(self, phrasing: int, parameters: Mapping[str, Any]) -> str:
        """Return the sentence that asks for it, in the wording with this number."""
        shown = {name: _listed(value) if isinstance(value, list) else value for name, value in parameters.items()}
        return self.phrasings[phrasing].format_map(shown)

    def check(self, answer: str, parameters: Mapping[str, Any]) -> bool:
        """Return whether an answer keeps it; an empty one never does.

        Raises:
            InputError: these are not the parameters of the type.
        """
        text = answer.strip()
        try:
            return bool(text) and self.holds(text, **parameters)
        except (TypeError, ValueError, IndexError, AttributeError) as error:
            raise InputError(f"constraint {self.name!r} cannot be checked with {dict(parameters)!r}: {error}") from None

    def beside(self, answer: str, parameters: Mapping[str, Any]) -> str:
        """Return what an answer says beside the words that keep the constraint; all of it if no words keep it.

        >>> from selfinstruct.constraints import TYPES
        >>> TYPES["edges/ends_with"].beside("In 1969. That is all.", {"phrase": "That is all."})
        'In 1969. '
        """
        if self.without is not None:
            return self.without(answer, **parameters)
        for value in parameters.values():
            for words in [value] if isinstance(value, str) else value if isinstance(value, list) else []:
                answer = re.sub(rf"(?<!\w){re.escape(words)}(?!\w)", "", answer, flags=re.I)
        return answer


def number(low: int, high: int, step: int = 1) -> Callable[[random.Random], Mapping[str, Any]]:
    """Return a draw of `n` from `low` to `high`.

    Args:
        low: least value.
        high: greatest value.
        step: distance between two values.
    """
    return lambda rng: {"n": rng.randrange(low, high + 1, step)}


def nothing(_rng: random.Random) -> Mapping[str, Any]:
    """Draw for a type without parameters."""
    return {}


def _listed(values: list[str]) -> str:
    quoted = [f'"{value}"' for value in values]
    return ", ".join(quoted[:-1]) + " and " + quoted[-1] if len(quoted) > 1 else quoted[0]
