"""Find texts that overlap with evaluation tasks: a model must not be trained on what it will be asked.

Three measures, each on words as the novelty filter counts them:

    exact    the text is that of an evaluation task
    n-gram   13 words in a row are also in an evaluation task (Brown et al. 2020, appendix C), 8 words for a text that
             has fewer than 13; or the text holds a whole one of 8 to 12 words
    ROUGE-L  the F-measure to the instruction of an evaluation task is above a threshold
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

from rapidfuzz.distance import LCSseq

from selfinstruct.formats.evaluation_tasks import EvaluationText
from selfinstruct.novelty.decision import rouge_l
from selfinstruct.novelty.words import tokenize

LONG, SHORT = 13, 8
"""Words of an n-gram, for texts that have as many, and for shorter ones."""

Measure = Literal["exact", "n-gram", "ROUGE-L"]


@dataclass(frozen=True, slots=True)
class Overlap:
    """An overlap with an evaluation task.

    Attributes:
        measure: which measure found it.
        task: id of the evaluation task.
        score: the ROUGE-L F, in (0, 1]; 1 for the other two.
        text: the words that both share, for an n-gram; else empty.
    """

    measure: Measure
    task: str
    score: float = 1.0
    text: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values, without an empty text."""
        values = {"task": self.task, "measure": self.measure, "score": self.score}
        return values | ({"text": self.text} if self.text else {})


class EvaluationTexts:
    """Evaluation tasks, to compare texts with.

    Args:
        tasks: the tasks.
        threshold: greatest ROUGE-L F of two instructions that are not the same task.
        stock_phrases: whether instructions of different tasks share phrases, as in a collection of tasks that are all
            worded alike. N-grams are then looked for in the rest of the prompt alone.
    """

    def __init__(self, tasks: Sequence[EvaluationText], threshold: float = 0.7, *, stock_phrases: bool = False) -> None:
        self._tasks = list(tasks)
        self._threshold = threshold
        self._stock_phrases = stock_phrases
        self._instructions = [tokenize(task.instruction) for task in tasks]
        self._holding: dict[tuple[str, int], list[int]] = {}  # Instructions with the n-th occurrence of a word.
        for number, instruction in enumerate(self._instructions):
            for word in _numbered(instruction):
                self._holding.setdefault(word, []).append(number)
        self._nearest = functools.lru_cache(1024)(self._find_nearest)  # Rows of one task have one instruction.
        self._exact: dict[tuple[str, ...], str] = {}
        self._grams: dict[tuple[str, ...], str] = {}
        self._short: dict[int, dict[tuple[str, ...], str]] = {}  # Whole texts of 8 to 12 words, by their length.
        for task in tasks:
            for text in (task.instruction, *task.inputs):
                words = tuple(tokenize(text))
                if words:
                    self._exact.setdefault(words, task.task)
                if stock_phrases and text is task.instruction and text not in task.inputs:
                    continue
                if SHORT <= len(words) < LONG:
                    self._short.setdefault(len(words), {}).setdefault(words, task.task)
                for size in (LONG, SHORT):
                    for gram in _grams(words, size):
                        self._grams.setdefault(gram, task.task)

    def __len__(self) -> int:
        return len(self._tasks)

    def find(self, instruction: str, text: str = "") -> Overlap | None:
        """Return the first overlap of a text with an evaluation task; None if there is none.

        Args:
            instruction: compared by all three measures.
            text: more of the prompt, such as the input; compared by the first two if it has at least eight words.
        """
        if not self._tasks:
            return None
        for is_instruction, part in ((True, instruction), (False, text)) if text else ((True, instruction),):
            words = tuple(tokenize(part))
            # "Kenya" may be the input of many a task.
            if (is_instruction or len(words) >= SHORT) and (task := self._exact.get(words)) is not None:
                return Overlap("exact", task)
            if is_instruction and self._stock_phrases:
                continue
            is_long = len(words) >= LONG
            for size, known in ((LONG, self._grams), *self._short.items()) if is_long else ((SHORT, self._grams),):
                for gram in _grams(words, size):
                    if (task := known.get(gram)) is not None:
                        return Overlap("n-gram", task, text=" ".join(gram))
        return self._nearest(tuple(tokenize(instruction)))

    def _find_nearest(self, words: tuple[str, ...]) -> Overlap | None:
        """Return the nearest instruction by ROUGE-L, if it is above the threshold.

        F = 2 L / (m + n) > t, with L words in common and n >= L, takes L > t m / (2 - t). The rest of the m words may
        be missing, but not one more: only texts with at least one of that many words, the rarest, are compared.
        """
        most_missing = len(words) - int(self._threshold * len(words) / (2 - self._threshold) - 1e-9)
        holding = sorted((self._holding.get(word, ()) for word in _numbered(words)), key=len)
        best = None
        for number in sorted(set(chain.from_iterable(holding[:most_missing]))):
            other = self._instructions[number]
            score = rouge_l(LCSseq.similarity(words, other), len(words), len(other))
            if score > (self._threshold if best is None else best.score):
                best = Overlap("ROUGE-L", self._tasks[number].task, score)
        return best


def _numbered(words: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Yield each word with the number of times that it came before."""
    counts: dict[str, int] = {}
    for word in words:
        before = counts.get(word, 0)
        yield word, before
        counts[word] = before + 1


def _grams(words: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    return (tuple(words[k : k + size]) for k in range(len(words) - size + 1))
