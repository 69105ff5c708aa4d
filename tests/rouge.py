"""Google's `rouge_score`, with which our own ROUGE-L is compared."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from typing import Any


@cache
def scorer(*, stemmer: bool = False) -> Any:
    """Return its scorer of ROUGE-L. It imports nltk, which takes two seconds: only the tests that use it pay for it."""
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=stemmer)


def reaches(one: str, other: str, limit: float) -> bool:
    """Whether the ROUGE-L F of two texts is at least `limit`. Words in common, an upper bound, spare most scores."""
    a, b = _words(one), _words(other)
    if 2 * len(a & b) < limit * (len(a) + len(b)):
        return False
    return float(scorer().score(one, other)["rougeL"].fmeasure) >= limit


@cache
def _words(text: str) -> frozenset[tuple[str, int]]:
    """The words of a text, each with a number for each time that it occurs."""
    counts = Counter(re.findall("[a-z0-9]+", text.lower()))
    return frozenset((word, k) for word, count in counts.items() for k in range(count))
