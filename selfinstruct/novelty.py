"""The novelty filter: is an instruction too close, by ROUGE-L F-measure, to any earlier one?

The decision is that of `rouge_score` (float arithmetic included): a candidate is rejected when the float
2PR / (P + R) exceeds the threshold, with P = LCS / len(candidate) and R = LCS / len(earlier). Tokens are
`rouge_score`'s for text it can see; other text is cut into Unicode words (see `tokenize`). Identical texts are
always duplicates.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from rapidfuzz.distance import LCSseq

_ASCII_TOKEN = re.compile(r"[a-z0-9]+")
# Ideographs and kana are words by themselves; any other run of letters, digits and marks is one word.
_IDEOGRAPH = "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U0003ffff"
_UNICODE_TOKEN = re.compile(f"[{_IDEOGRAPH}]|(?:(?![{_IDEOGRAPH}])[^\\W_])+")


def tokenize(text: str) -> list[str]:
    """Words of a text, lower-cased.

    A text whose letters and digits, once lower-cased, are all in a-z0-9 gets `rouge_score`'s default tokens (runs of
    a-z0-9). Any other text, which that tokenizer would cut or erase, is split as a whole into Unicode words; single
    ideographs are words.

    >>> tokenize("Don't panic!"), tokenize("Größe zählt"), tokenize("写诗 ok")
    (['don', 't', 'panic'], ['größe', 'zählt'], ['写', '诗', 'ok'])
    """
    lowered = text.lower()
    if lowered.isascii() or all(c.isascii() for c in lowered if c.isalnum()):
        return _ASCII_TOKEN.findall(lowered)
    return _UNICODE_TOKEN.findall(lowered)


def rouge_l(lcs: int, m: int, n: int) -> float:
    """ROUGE-L F-measure of a longest common subsequence of `lcs` tokens between m and n tokens, as rouge_score floats it.

    Both operands are tried nowhere: F is symmetric in exact arithmetic, and rouge_score is called as
    score(target, prediction), so m counts the earlier text's tokens and n the candidate's.
    """
    if lcs == 0:
        return 0.0
    precision, recall = lcs / n, lcs / m
    return 2 * precision * recall / (precision + recall)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An earlier text by its position (seeds first, from 0) and its exact ROUGE-L F."""

    index: int
    score: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """Decision on one candidate, with its evidence.

    `nearest` is, for a rejected candidate, the nearest earlier text (ties: the earliest); for an accepted one the
    nearest seed, or None when there are no seeds.
    """

    accepted: bool
    reason: Literal["identical", "near_duplicate"] | None
    nearest: Neighbour | None


class NoveltyIndex:
    """Earlier instructions, seeds first, that candidates are compared with.

    Args:
        seeds: texts that stand at positions 0 .. len(seeds) - 1; they are not compared with each other.
        threshold: reject when ROUGE-L F is greater; in (0, 1).
    """

    def __init__(self, seeds: Iterable[str] = (), threshold: float = 0.7) -> None:
        if not 0 < threshold < 1:
            raise ValueError(f"threshold must lie in (0, 1), got {threshold}")
        self.threshold = threshold
        self._texts: dict[str, int] = {}
        self._tokens: list[list[str]] = []
        for text in seeds:
            self.add(text)
        self._num_seeds = len(self._tokens)

    def __len__(self) -> int:
        return len(self._tokens)

    def add(self, text: str) -> None:
        """Append a text without deciding on it (a seed; an accepted instruction on replay)."""
        self._texts.setdefault(_key(text), len(self._tokens))
        self._tokens.append(tokenize(text))

    def accept(self, text: str) -> Verdict:
        """Decide on a candidate, and append it when it is accepted."""
        same = self._texts.get(_key(text))
        if same is not None:
            return Verdict(False, "identical", Neighbour(same, 1.0))
        neighbours = self._scores(tokenize(text))
        nearest = max(neighbours, key=lambda found: found.score, default=None)
        if nearest is not None and nearest.score > self.threshold:
            return Verdict(False, "near_duplicate", nearest)
        seed = max(neighbours[: self._num_seeds], key=lambda found: found.score, default=None)
        self.add(text)
        return Verdict(True, None, seed)

    def accept_batch(self, texts: Sequence[str]) -> list[Verdict]:
        """`accept` for each text in order."""
        return [self.accept(text) for text in texts]

    def nearest(self, text: str, k: int = 1) -> list[Neighbour]:
        """The k most similar texts of the whole pool, best first (ties: the earliest)."""
        return sorted(self._scores(tokenize(text)), key=lambda found: (-found.score, found.index))[:k]

    def _scores(self, tokens: list[str]) -> list[Neighbour]:
        n = len(tokens)
        return [
            Neighbour(k, rouge_l(LCSseq.similarity(earlier, tokens), len(earlier), n) if earlier and n else 0.0)
            for k, earlier in enumerate(self._tokens)
        ]


def _key(text: str) -> str:
    """Texts with the same key are identical: case and spacing do not make an instruction new."""
    return " ".join(text.lower().split())
