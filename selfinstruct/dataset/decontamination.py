"""Find texts that overlap with evaluation tasks: a model must not be trained on what it will be asked.

Three measures, each on words as the novelty filter counts them:

    exact    the text is that of an evaluation task
    n-gram   13 words in a row are also in an evaluation task (Brown et al. 2020, appendix C), 8 words for a text that
             has fewer than 13
    ROUGE-L  the F-measure to the instruction of an evaluation task is above a threshold
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from selfinstruct.novelty import NoveltyIndex, tokenize

LONG, SHORT = 13, 8
"""Words of an n-gram, for texts that have as many, and for shorter ones."""

Measure = Literal["exact", "n-gram", "ROUGE-L"]


@dataclass(frozen=True, slots=True)
class EvaluationText:
    """The text of an evaluation task: its instruction, and each of its inputs."""

    task: str
    instruction: str
    inputs: tuple[str, ...] = ()


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


class EvaluationTexts:
    """Evaluation tasks, to compare texts with.

    Args:
        tasks: the tasks.
        threshold: greatest ROUGE-L F of two instructions that are not the same task.
    """

    def __init__(self, tasks: Sequence[EvaluationText], threshold: float = 0.7) -> None:
        self._tasks = list(tasks)
        self._threshold = threshold
        self._index = NoveltyIndex([task.instruction for task in tasks], threshold)
        self._exact: dict[tuple[str, ...], str] = {}
        self._grams: dict[tuple[str, ...], str] = {}
        for task in tasks:
            for text in (task.instruction, *task.inputs):
                words = tuple(tokenize(text))
                if words:
                    self._exact.setdefault(words, task.task)
                for size in (LONG, SHORT):
                    for gram in _grams(words, size):
                        self._grams.setdefault(gram, task.task)

    def __len__(self) -> int:
        return len(self._tasks)

    def find(self, instruction: str, text: str = "") -> Overlap | None:
        """Return the first overlap of a text with an evaluation task; None if there is none.

        Args:
            instruction: compared by all three measures.
            text: more of the prompt, such as the input; compared by the first two.
        """
        if not self._tasks:
            return None
        for part in filter(None, (instruction, text)):
            words = tuple(tokenize(part))
            if (task := self._exact.get(words)) is not None:
                return Overlap("exact", task)
            size = LONG if len(words) >= LONG else SHORT
            for gram in _grams(words, size):
                if (task := self._grams.get(gram)) is not None:
                    return Overlap("n-gram", task, text=" ".join(gram))
        nearest = self._index.nearest(instruction)
        if nearest and nearest[0].score > self._threshold:
            return Overlap("ROUGE-L", self._tasks[nearest[0].index].task, nearest[0].score)
        return None


def _grams(words: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    return (tuple(words[k : k + size]) for k in range(len(words) - size + 1))
