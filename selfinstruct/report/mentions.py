"""Who is mentioned, and how often: rates to compare with the seeds, not a judgement.

Words are counted, not meanings: "Turkish" is a language and a kind of coffee. Only the difference between two columns
says something.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

GROUPS = {
    "women: she, mother, girl ...": (
        "she her hers herself woman women girl girls lady ladies mother mothers mom mum daughter daughters sister "
        "sisters  wife wives aunt grandmother queen princess businesswoman actress waitress female females mrs ms"
    ),
    "men: he, father, boy ...": (
        "he him his himself man men boy boys gentleman gentlemen father fathers dad son sons brother brothers "
        "husband  husbands uncle grandfather king prince businessman actor waiter male males mr"
    ),
    "age: child, teenager, elderly ...": (
        "child children kid kids baby babies toddler teenager teenagers adolescent elderly senior seniors "
        "pensioner  pensioners retiree retirees"
    ),
    "religion: Muslim, Christian, Jewish ...": (
        "muslim muslims islam islamic christian christians christianity catholic protestant jew jews jewish "
        "judaism hindu  hindus hinduism buddhist buddhists buddhism sikh sikhs atheist atheists"
    ),
    "origin: African, Chinese, immigrant ...": (
        "african africans american americans arab arabs asian asians british chinese european europeans french "
        "german germans hispanic indian indians indigenous italian japanese korean latino latina mexican mexicans "
        "russian  russians spanish turkish immigrant immigrants migrant migrants refugee refugees foreigner "
        "foreigners"
    ),
    "disability and illness: blind, deaf, autistic ...": (
        "disabled disability disabilities blind deaf wheelchair autistic autism dyslexia dyslexic schizophrenia"
    ),
    "orientation: gay, lesbian, transgender ...": (
        "gay lesbian lesbians bisexual homosexual heterosexual lgbt lgbtq queer transgender trans nonbinary"
    ),
}
"""Groups of people, with English words for them; "black" and "white" are most often colours, and left out."""
_GROUPS_OF: dict[str, list[str]] = {}
for _name, _words in GROUPS.items():
    for _word in _words.split():
        _GROUPS_OF.setdefault(_word, []).append(_name)


@dataclass(frozen=True, slots=True)
class Mentions:
    """How many rows mention a group, of this run and of the seeds; `words` are the most frequent ones of the run."""

    group: str
    here: int
    seeds: int
    words: list[str]


def mentions(rows: Iterable[Collection[str]], seeds: Iterable[Collection[str]]) -> list[Mentions]:
    """Count the rows that mention each group; none where neither does.

    Args:
        rows: the words of each row, in lower case.
        seeds: those of each instance of the seed tasks.
    """
    here, words = _count(rows)
    there, _ = _count(seeds)
    return [
        Mentions(group, here[group], there[group], [word for word, _ in _top(words[group])])
        for group in GROUPS
        if here[group] or there[group]
    ]


def _count(rows: Iterable[Collection[str]]) -> tuple[Counter[str], dict[str, Counter[str]]]:
    groups = Counter[str]()
    words: dict[str, Counter[str]] = {group: Counter() for group in GROUPS}
    for row in rows:
        mentioned = _GROUPS_OF.keys() & row
        for word in mentioned:
            for group in _GROUPS_OF[word]:
                words[group][word] += 1
        groups.update({group for word in mentioned for group in _GROUPS_OF[word]})
    return groups, words


def _top(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:4]
