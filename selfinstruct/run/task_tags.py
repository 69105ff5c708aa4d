"""What models say the tasks of a run are about, as the journal's lines have it (`selfinstruct tag`).

Several models may have tagged the same run. The latest is meant: the last that began.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from selfinstruct.records import TAG_VALUES, Tags
from selfinstruct.run.lines import TagsLine


class Tagger(NamedTuple):
    """Who gives tags: a model, and the version of the question."""

    model: str
    version: str


AllTags = dict[Tagger, dict[str, Tags | None]]
"""Tags of instructions by their id, by tagger, in the order in which the taggers began; None: the last try failed."""


def note(tags: AllTags, line: TagsLine) -> None:
    """Add a line.

    Raises:
        ValueError: this tagger has tagged the instruction already.
    """
    known = tags.setdefault(Tagger(line.model, line.version), {})
    if known.get(line.id) is not None:
        raise ValueError(f"it tags {line.id} again")
    known[line.id] = line.tags


def holds(tags: AllTags, line: TagsLine) -> bool:
    """Return whether this tagger has tagged the instruction of a line already."""
    return tags.get(Tagger(line.model, line.version), {}).get(line.id) is not None


def latest(tags: AllTags) -> dict[str, Tags]:
    """Return the tags of the latest tagger, by the instruction's id; none where nobody tagged the run."""
    known: Mapping[str, Tags | None] = next(reversed(tags.values()), {})
    return {name: one for name, one in known.items() if one is not None}


def histograms(tags: Iterable[Tags]) -> dict[str, dict[str, int]]:
    """Return, for each kind of tag, how often each value occurs, the most frequent first.

    >>> histograms([Tags("advice", "easy", "none", "en")])["category"]
    {'advice': 1}
    """
    there = list(tags)
    counted = {kind: Counter(str(getattr(one, kind)) for one in there) for kind in TAG_VALUES}
    return {
        kind: dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))) for kind, counts in counted.items()
    }
