"""Constraints that a program can check, such as "Use at most 40 words".

One file per family. Each type draws its parameters, says them in one of several wordings, and checks an answer. The
types are divided by a hash of their names: `TRAINING` may be attached to generated instructions, `HELD_OUT` are asked
for in evaluation alone. A model that learned to keep constraints, and not only those it was trained on, keeps both.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Collection

from selfinstruct.constraints import (
    case,
    edges,
    forbidden,
    json_text,
    keywords,
    language,
    length,
    lists,
    markup,
    punctuation,
)
from selfinstruct.constraints.kind import ConstraintType
from selfinstruct.errors import InputError
from selfinstruct.records import Constraint

_FAMILIES = (length, keywords, forbidden, case, lists, markup, json_text, edges, punctuation, language)
TYPES: dict[str, ConstraintType] = {kind.name: kind for family in _FAMILIES for kind in family.TYPES}


def is_held_out(name: str) -> bool:
    """Return whether a type is for evaluation alone: two in five are, by a hash of the name; variants stay together."""
    first = TYPES[name].variant_of or name
    return hashlib.sha256(first.encode()).digest()[0] % 5 < 2


TRAINING = tuple(name for name in TYPES if not is_held_out(name))
HELD_OUT = tuple(name for name in TYPES if is_held_out(name))


def draw(rng: random.Random, names: Collection[str], most: int) -> tuple[Constraint, ...]:
    """Return one to `most` constraints that an answer can keep together.

    Args:
        rng: the generator of the choices.
        names: types to choose from.
        most: the largest number of them.
    """
    count = rng.randint(1, most)
    drawn: list[Constraint] = []
    taken: set[str] = set()
    for name in rng.sample(sorted(names), len(names)):
        kind = TYPES[name]
        if len(drawn) < count and taken.isdisjoint(kind.aspects):
            drawn.append(kind.drawn(rng))
            taken.update(kind.aspects)
    return tuple(drawn)


def keeps(answer: str, constraint: Constraint) -> bool:
    """Return whether an answer keeps a constraint; an empty one keeps none.

    Raises:
        InputError: there is no such type, or these are not its parameters.
    """
    kind = TYPES.get(constraint.type)
    if kind is None:
        raise InputError(f"there is no type of constraint {constraint.type!r}")
    return kind.check(answer, constraint.parameters)


__all__ = ["HELD_OUT", "TRAINING", "TYPES", "ConstraintType", "draw", "is_held_out", "keeps"]
