"""What scorers say about answers, as the journal's lines have it (`selfinstruct rate`).

A run may hold the scores of several scorers, and of one scorer with several models. Where one is named, the latest of
that name is meant: the last that began.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from selfinstruct.run.lines import AnswerLine, InstancesLine, Line, ProposalLine, ScoreLine


class Scorer(NamedTuple):
    """Who gives scores: a name, the model that it asks, and the version of its question."""

    name: str
    model: str
    version: str


class Place(NamedTuple):
    """The place of an answer: candidate `sample` of the answer to input `instance` of instruction `id`.

    Where the outputs are written with the inputs, `instance` counts them all, and `sample` is 0.
    """

    id: str
    instance: int
    sample: int


Scores = dict[Scorer, dict[Place, float | None]]
"""Scores by scorer, in the order in which they began; None: the last try failed."""


def note(scores: Scores, line: ScoreLine) -> None:
    """Add a line.

    Raises:
        ValueError: this scorer has scored the answer already.
    """
    known = scores.setdefault(Scorer(line.scorer, line.model, line.version), {})
    place = Place(line.id, line.instance, line.sample)
    if known.get(place) is not None:
        raise ValueError(f"it scores {place} again")
    known[place] = line.value


def holds(scores: Scores, line: ScoreLine) -> bool:
    """Return whether this scorer has scored the answer of a line already."""
    known = scores.get(Scorer(line.scorer, line.model, line.version), {})
    return known.get(Place(line.id, line.instance, line.sample)) is not None


def latest(scores: Scores, name: str | None) -> tuple[Scorer, Mapping[Place, float]] | None:
    """Return the latest scorer of a name, and what it scored; None where there is none.

    Args:
        scores: of the run.
        name: the scorer's; None: the latest of all.
    """
    scorers = [scorer for scorer in scores if name in (None, scorer.name)]
    if not scorers:
        return None
    return scorers[-1], {place: value for place, value in scores[scorers[-1]].items() if value is not None}


def places_of_rows(lines: Iterable[Line]) -> dict[str, Place]:
    """Return the place of the answer of each kept row, by the row's id.

    Args:
        lines: of a journal without rewritten outputs.
    """
    kept: dict[str, list[Place]] = defaultdict(list)
    for line in lines:
        match line:
            case ProposalLine():
                for one in line.candidates:
                    if one.accepted and one.instance is not None:
                        kept[one.id].append(Place(one.id, 0, 0))
            case InstancesLine() if line.form != "input_only":
                kept[line.id] += [Place(line.id, k, 0) for k, one in enumerate(line.candidates) if one.accepted]
            case AnswerLine():
                samples = enumerate(line.candidates)
                kept[line.id] += [Place(line.id, line.instance, k) for k, one in samples if one.accepted]
            case _:
                pass
    return {f"{name}-{k}": place for name, places in kept.items() for k, place in enumerate(sorted(places))}
