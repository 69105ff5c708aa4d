"""The simple index: RapidFuzz's bit-parallel LCS with every earlier text.

It is used for small pools and while the kernels are being compiled, and the tests compare the fast index with it.
"""

from __future__ import annotations

from collections.abc import Sequence

from rapidfuzz.distance import LCSseq

from selfinstruct.novelty.decision import Neighbour, Verdict, rouge_l, verdict
from selfinstruct.novelty.words import text_key, tokenize
from selfinstruct.records import Tokenizer


class ScanIndex:
    """Earlier texts as lists of words. A decision costs about 0.3 microseconds per earlier text of 16 words."""

    def __init__(self, threshold: float, num_seeds: int = 0, tokenizer: Tokenizer = "words") -> None:
        self.threshold = threshold
        self.num_seeds = num_seeds
        self.tokenizer: Tokenizer = tokenizer
        self.texts: list[str] = []
        self._tokens: list[list[str]] = []
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
        scores = self._scores(tokens, len(self.texts))
        best = max(scores, default=0.0)
        if best > self.threshold:
            return verdict(False, Neighbour(scores.index(best), best))
        seeds = scores[: self.num_seeds]
        best = max(seeds, default=-1.0)
        self._append(text, tokens)
        return verdict(True, Neighbour(seeds.index(best) if seeds else -1, best))

    def _append(self, text: str, tokens: list[str]) -> None:
        if not tokens:
            self._blank.setdefault(text_key(text), len(self.texts))
        self.texts.append(text)
        self._tokens.append(tokens)

    def _scores(self, tokens: list[str], last: int) -> list[float]:
        n = len(tokens)
        return [
            rouge_l(LCSseq.similarity(earlier, tokens), len(earlier), n) if earlier and n else 0.0
            for earlier in self._tokens[:last]
        ]
