"""Google's `rouge_score`, with which our own ROUGE-L is compared."""

from __future__ import annotations

from functools import cache
from typing import Any


@cache
def scorer(*, stemmer: bool = False) -> Any:
    """Return its scorer of ROUGE-L. It imports nltk, which takes two seconds: only the tests that use it pay for it."""
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], use_stemmer=stemmer)
