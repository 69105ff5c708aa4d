"""The novelty filter: is an instruction too similar, by ROUGE-L F-measure, to any earlier one?

    >>> index = NoveltyIndex(["Write a poem about the sea.", "List three fruits."], threshold=0.7)
    >>> index.accept("Write a poem about the moon.")
    Verdict(accepted=False, reason='near_duplicate', nearest=Neighbour(index=0, score=0.8333333333333334))
    >>> index.accept("Explain how tides work.")
    Verdict(accepted=True, reason=None, nearest=Neighbour(index=0, score=0.0))

The decision is that of `rouge_score`, float arithmetic included: a candidate is rejected when the float
2PR / (P + R) exceeds the threshold, with P = LCS / len(candidate) and R = LCS / len(earlier). Tokens are
`rouge_score`'s for ASCII text; other text is split into Unicode words (see `tokenize`).

    words.py      split a text into words
    decision.py   the decision, and its arithmetic
    farthest.py   how like each text is to any chosen one
    index.py      NoveltyIndex: the interface; compiles in the background and scans meanwhile
    beside.py     the same in a process of its own
    scan.py       the simple index, RapidFuzz over the texts that share a rare word
    compiled.py   the fast index: arrays that grow, and calls of the kernels
    kernels.py    functions that numba compiles: inverted lists, signatures, bit-parallel LCS
"""

from __future__ import annotations

from selfinstruct.novelty.decision import Decisions, Neighbour, Verdict, rouge_l
from selfinstruct.novelty.index import NoveltyIndex, warm_up
from selfinstruct.novelty.words import has_unspaced, is_unspaced, may_hold, tokenize

__all__ = [
    "Decisions",
    "Neighbour",
    "NoveltyIndex",
    "Verdict",
    "has_unspaced",
    "is_unspaced",
    "may_hold",
    "rouge_l",
    "tokenize",
    "warm_up",
]
