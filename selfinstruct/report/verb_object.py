"""The verb and its object of an English instruction, as figure 3 of the paper counts them.

The paper parses sentences with a neural parser. Here a few rules do: an instruction begins with its verb, and the
object is the last word before a preposition, a clause or a stop. They are right for most imperatives, find nothing in
questions, and need no model.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*|[.,:;!?()\"\n]|\d[\d.,]*")
_POLITE = (
    "please|kindly|now|then|first|next|in this task,?|your (?:task|job|goal) is to|you (?:are asked|need|have) to|"
    "(?:can|could|would|will) you|i (?:want|need|would like) you to|i'd like you to|let's|help me(?: to)?"
)
_OPENERS = re.compile(rf"\s*(?:(?:{_POLITE})\b[\s,:]*)*", re.I)
_SKIPPED = frozenset(
    "a an the this these that those my your his her its our their me us him them it all any some each every both "
    "either one two three four five six seven eight nine ten several many few more most different "
    "following given new own up out down as also then briefly".split()
)
_ENDS = frozenset(
    "about above across after against among and around at because before between but by during for from how if in into "
    "is are was were has have had of on or over so than that through to towards under until what when where whether "
    "which while who whom whose why with within without using based".split()
)
_OTHERS = frozenset(
    "i you he she we they do does did can could should would will shall may might must am be been there here no not "
    "yes hello hi dear suppose".split()
)
"""Words that are no verb of an imperative, besides those of the two lists above."""
_NO_VERBS = _ENDS | _SKIPPED | _OTHERS


def verb_and_object(instruction: str) -> tuple[str, str] | None:
    """Return the verb and the object of an instruction, or None where the rules find none.

    >>> verb_and_object("Please write a short poem about the sea.")
    ('write', 'poem')
    >>> verb_and_object("What is the capital of Kenya?")
    """
    text = instruction[_OPENERS.match(instruction).end() :]  # type: ignore[union-attr]  # It matches the empty text.
    words = _WORD.findall(text[:300].lower())
    if not words or not words[0][0].isalpha() or words[0] in _NO_VERBS or "'" in words[0] or "’" in words[0]:
        return None
    found = ""
    for word in words[1:]:
        if word in _SKIPPED and not found:
            continue
        if word in _ENDS or word in _SKIPPED or not (word[0].isalpha() or word[0].isdigit()):
            break
        if found and word.endswith(("ing", "ed", "ly")):  # "a poem describing", "a text written".
            break
        found = word
    return (words[0], found) if found and found[0].isalpha() else None


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb with its count, and its most frequent objects with theirs."""

    verb: str
    count: int
    objects: list[tuple[str, int]]


def most_frequent(pairs: Iterable[tuple[str, str]], verbs: int = 20, objects: int = 4) -> list[Verb]:
    """Return the most frequent verbs, each with its most frequent objects. Plurals count with their singulars.

    Args:
        pairs: verbs with their objects.
        verbs: how many verbs.
        objects: how many objects of each; the paper shows 20 verbs with 4 each.
    """
    counts = Counter(pairs)
    nouns = {thing for _, thing in counts}
    by_verb: dict[str, Counter[str]] = defaultdict(Counter)
    for (verb, thing), n in counts.items():
        by_verb[verb][_singular(thing, nouns)] += n

    def top(of: Counter[str], most: int) -> list[tuple[str, int]]:
        return sorted(of.items(), key=lambda item: (-item[1], item[0]))[:most]

    totals = Counter({verb: of.total() for verb, of in by_verb.items()})
    return [Verb(verb, n, top(by_verb[verb], objects)) for verb, n in top(totals, verbs)]


def _singular(noun: str, nouns: Collection[str]) -> str:
    """Return the singular of an English noun if it is among `nouns`, else the noun itself.

    >>> _singular("stories", {"story"}), _singular("boxes", {"box"}), _singular("news", {"poem"})
    ('story', 'box', 'news')
    """
    endings = (("ies", "y"), ("es", ""), ("s", ""))
    singulars = (noun.removesuffix(plural) + one for plural, one in endings if noun.endswith(plural))
    return next((singular for singular in singulars if singular in nouns), noun)
