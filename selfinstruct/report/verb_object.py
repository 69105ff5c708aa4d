"""The verb and its object of an English instruction, as figure 3 of the paper counts them.

The paper parses sentences with a neural parser. Here a few rules and a dictionary of English (lemminflect's) do: an
instruction begins with its verb, and the object is the last noun before a preposition, a clause or a stop. They are
right for most imperatives, find nothing in questions and in other languages, and need no model.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*|[.,:;!?()\"\n]|\d[\d.,]*")
_POLITE = (
    "please|kindly|hi|hello|hey|there|now|then|first|next|in this task,?|your (?:task|job|goal) is to|"
    "you (?:are asked|need|have) to|(?:can|could|would|will) you|"
    "i (?:want|need|would like) you to|i'd like you to|let's|help me(?: to)?"
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
_OTHERS = frozenset("do does did can could should would will shall may might must am be been suppose".split())
"""Verbs that are none of an imperative, besides those of the two lists above."""
_NEW_VERBS = re.compile(r"autocomplete|finetune|fine-tune|refactor|roleplay|\w{3,}(?:ize|ify)")
"""Verbs that the dictionary may lack; a name that it lacks is no verb."""
_NO_VERBS = _ENDS | _SKIPPED | _OTHERS


def verb_and_object(instruction: str) -> tuple[str, str] | None:
    """Return the verb and the object of an instruction, or None where the rules find none.

    >>> verb_and_object("Please write a short poem about the sea.")
    ('write', 'poem')
    >>> verb_and_object("What is the capital of Kenya?")
    """
    text = instruction[_OPENERS.match(instruction).end() :]  # type: ignore[union-attr]  # It matches the empty text.
    words = _WORD.findall(text[:300].lower())
    verb = _verb(words[0]) if words else None
    if verb is None:
        return None
    last_noun = ""
    for word in words[1:]:
        if word in _SKIPPED and not last_noun:
            continue
        if word in _ENDS or word in _SKIPPED or not (word[0].isalpha() or word[0].isdigit()):
            break
        if last_noun and word.endswith(("ing", "ed", "ly")):  # "a poem describing", "a text written".
            break
        if (noun := _noun(word)) is not None:
            last_noun = noun
        elif last_noun:  # "a poem full of joy"
            break
    return (verb, last_noun) if last_noun and last_noun[0].isalpha() else None


def _verb(word: str) -> str | None:
    """Return the lemma of a verb in its base form, or None.

    >>> _verb("write"), _verb("re-write"), _verb("wrote"), _verb("michael")
    ('write', 'rewrite', None, None)
    """
    from lemminflect import getAllLemmas

    if word in _NO_VERBS:
        return None
    known = getAllLemmas(word)
    forms = known.get("VERB", ())
    if word in forms:
        return str(forms[0])
    return word if not known and _NEW_VERBS.fullmatch(word) else None


def _noun(word: str) -> str | None:
    """Return the singular of a noun; a word that the dictionary lacks may be one; None for another word.

    >>> _noun("stories"), _noun("data"), _noun("news"), _noun("json"), _noun("available")
    ('story', 'data', 'news', 'json', None)
    """
    from lemminflect import getAllLemmas

    known = getAllLemmas(word)
    forms = known.get("NOUN", () if known else (word,))
    return None if not forms else word if word in forms else str(forms[0])


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb with its count, and its most frequent objects with theirs."""

    verb: str
    count: int
    objects: list[tuple[str, int]]


def most_frequent(pairs: Iterable[tuple[str, str]], verbs: int = 20, objects: int = 4) -> list[Verb]:
    """Return the most frequent verbs, each with its most frequent objects.

    Args:
        pairs: verbs with their objects.
        verbs: how many verbs.
        objects: how many objects of each; the paper shows 20 verbs with 4 each.
    """
    by_verb: dict[str, Counter[str]] = defaultdict(Counter)
    for verb, thing in pairs:
        by_verb[verb][thing] += 1

    def top(of: Counter[str], most: int) -> list[tuple[str, int]]:
        return sorted(of.items(), key=lambda item: (-item[1], item[0]))[:most]

    totals = Counter({verb: of.total() for verb, of in by_verb.items()})
    return [Verb(verb, n, top(by_verb[verb], objects)) for verb, n in top(totals, verbs)]
