"""The next text that is least like those chosen before: farthest-first traversal by ROUGE-L.

A 2-approximation of the k-center problem (Gonzalez 1985): at most twice as far from the best cover as is possible.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from rapidfuzz.distance import LCSseq

from selfinstruct.novelty.words import tokenize

Array: TypeAlias = np.ndarray[Any, Any]

CHOSEN = 2.0
"""Score of a chosen text: above every similarity."""
_SLACK = 1e-9  # The bound is loosened by this; a score is never computed from it.


class Likeness:
    """How like each text is to any chosen one.

    A choice costs about a microsecond for each text with enough words in common with the chosen one that its score
    may rise, and some nanoseconds for each other one.

    Args:
        texts: to choose from.

    Attributes:
        scores: (texts,) the greatest ROUGE-L F to a chosen text, in [0, 1]; 0 while none is chosen; `CHOSEN` for the
            chosen ones.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        numbers: dict[str, int] = {}
        self._words = [[numbers.setdefault(word, len(numbers)) for word in tokenize(text)] for text in texts]
        self.lengths = np.array([len(words) for words in self._words], np.int64)
        self.scores = np.zeros(len(texts))
        # Each n-th occurrence of a word in a text, by word and occurrence: the texts that have it.
        holding: dict[tuple[int, int], list[int]] = {}
        for position, words in enumerate(self._words):
            for occurrence in _occurrences(words):
                holding.setdefault(occurrence, []).append(position)
        self._holding = {key: np.array(positions, np.int32) for key, positions in holding.items()}

    def choose(self, position: int) -> None:
        """Choose a text: raise the scores of the others to their ROUGE-L F with it."""
        chosen, lengths, scores = self._words[position], self.lengths, self.scores
        if chosen:
            holding = [self._holding[occurrence] for occurrence in _occurrences(chosen)]
            common = np.bincount(np.concatenate(holding), minlength=len(scores))
            rising = np.flatnonzero((common > 0) & (2 * common > (scores - _SLACK) * (lengths + len(chosen))))
            lcs = np.array([LCSseq.similarity(chosen, self._words[k]) for k in rising.tolist()], np.int64)
            # An LCS of 0 does not occur: there is a word in common. The operations are those of `decision.rouge_l`.
            precision, recall = lcs / len(chosen), lcs / lengths[rising]
            scores[rising] = np.maximum(scores[rising], 2 * precision * recall / (precision + recall))
        scores[position] = CHOSEN


def _occurrences(words: Sequence[int]) -> list[tuple[int, int]]:
    counts: dict[int, int] = {}
    occurrences = []
    for word in words:
        counts[word] = counts.get(word, 0) + 1
        occurrences.append((word, counts[word]))
    return occurrences
