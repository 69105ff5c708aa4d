"""The simple index: RapidFuzz's bit-parallel LCS with the earlier texts that may be near.

It is used for small pools and while the kernels are being compiled, and the tests compare the fast index with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain

from rapidfuzz.distance import LCSseq

from selfinstruct.novelty.decision import Neighbour, Verdict, rouge_l, verdict
from selfinstruct.novelty.words import text_key, tokenize
from selfinstruct.records import Tokenizer

_SLACK = 1e-9  # Bounds computed as floats are loosened by this; the decision itself is never computed from a bound.


class ScanIndex:
    """Earlier texts as lists of words, and for each word the texts that hold it."""

    def __init__(self, threshold: float, num_seeds: int = 0, tokenizer: Tokenizer = "words") -> None:
        self.threshold = threshold
        self.num_seeds = num_seeds
        self.tokenizer: Tokenizer = tokenizer
        self.texts: list[str] = []
        self._tokens: list[list[str]] = []
        self._holding: dict[str, list[int]] = {}
        self._seeds_holding: dict[str, list[int]] = {}
        self._blank: dict[str, int] = {}  # Texts without words.

    def __len__(self) -> int:
        return len(self.texts)

    def extend(self, texts: Sequence[str]) -> None:
        """Append texts without deciding on them."""
        for text in texts:
            self._append(text, tokenize(text, self.tokenizer))

    def decide(self, texts: Sequence[str]) -> list[Verdict]:
        """Decide on candidates in order, and append the accepted ones."""
        return [self._decide(text) for text in texts]

    def nearest(self, texts: Sequence[str], k: int, before: Sequence[int]) -> list[list[Neighbour]]:
        """Return the nearest texts of each text, best first (ties: the earliest).

        Args:
            texts: the candidates.
            k: how many texts to return for each.
            before: for each, compare only with this many of the first texts.
        """
        nearest = []
        for text, last in zip(texts, before, strict=True):
            scores = self._scores(tokenize(text, self.tokenizer), last)
            best = sorted(range(last), key=lambda position, scores=scores: -scores[position])[:k]  # type: ignore[misc]
            nearest.append([Neighbour(position, scores[position]) for position in best])
        return nearest

    def _decide(self, text: str) -> Verdict:
        tokens = tokenize(text, self.tokenizer)
        if not tokens and text_key(text) in self._blank:
            return verdict(False, Neighbour(self._blank[text_key(text)], 1.0))
        nearest = self._above_threshold(tokens)
        if nearest is not None:
            return verdict(False, nearest)
        nearest = self._nearest_seed(tokens)
        self._append(text, tokens)
        return verdict(True, nearest)

    def _nearest_seed(self, tokens: Sequence[str]) -> Neighbour:
        """Return the nearest seed (ties: the earliest); -1 if there is none.

        No more words are in common than the seed has of those of the text, so that most seeds need no comparison.
        """
        shared = Counter(chain.from_iterable(self._seeds_holding.get(word, ()) for word in tokens))
        n, lengths = len(tokens), self._tokens
        bounds = sorted((-rouge_l(min(both, m := len(lengths[k])), m, n), k) for k, both in shared.items())
        nearest, best = (0, 0.0) if self.texts and self.num_seeds else (-1, -1.0)
        for bound, position in bounds:
            if -bound < best - _SLACK:
                break
            earlier = lengths[position]
            score = rouge_l(LCSseq.similarity(earlier, tokens), len(earlier), n)
            if score > best or (score == best and position < nearest):
                nearest, best = position, score
        return Neighbour(nearest, best)

    def _above_threshold(self, tokens: Sequence[str]) -> Neighbour | None:
        """Return the nearest text (ties: the earliest) if it is above the threshold.

        F = 2 L / (m + n) > t, with L words in common and m >= L, takes L > t n / (2 - t). The rest of the n words may
        be missing, but not one more: only texts with at least one of that many words, the rarest, are compared.
        """
        n = len(tokens)
        most_missing = n - int(self.threshold * n / (2 - self.threshold) - _SLACK)
        holding = sorted((self._holding.get(word, ()) for word in tokens), key=len)
        nearest, best = None, self.threshold
        for position in sorted(set(chain.from_iterable(holding[:most_missing]))):
            earlier = self._tokens[position]
            m = len(earlier)
            if 2 * min(m, n) < (best - _SLACK) * (m + n):
                continue
            score = rouge_l(LCSseq.similarity(earlier, tokens), m, n)
            if score > best:
                nearest, best = Neighbour(position, score), score
        return nearest

    def _append(self, text: str, tokens: list[str]) -> None:
        if not tokens:
            self._blank.setdefault(text_key(text), len(self.texts))
        for word in dict.fromkeys(tokens):
            self._holding.setdefault(word, []).append(len(self.texts))
            if len(self.texts) < self.num_seeds:
                self._seeds_holding.setdefault(word, []).append(len(self.texts))
        self.texts.append(text)
        self._tokens.append(tokens)

    def _scores(self, tokens: list[str], last: int) -> list[float]:
        n = len(tokens)
        return [
            rouge_l(LCSseq.similarity(earlier, tokens), len(earlier), n) if earlier and n else 0.0
            for earlier in self._tokens[:last]
        ]
