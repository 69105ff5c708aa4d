"""Filters decide which candidates are kept.

One file per filter. A filter is a function that returns None, or a `Rejection` with the reason and its evidence.
`heuristics` chains the filters of instructions; the first one that rejects gives the reason. Novelty is decided after
them, in `selfinstruct.novelty`. The filters of instances are in `instances.py`, those of whole rows in `rows.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from selfinstruct.config.schema import Filters
from selfinstruct.formats.evaluation_tasks import EvaluationText
from selfinstruct.generation.filters.characters import invalid_characters
from selfinstruct.generation.filters.keywords import keyword, opening
from selfinstruct.generation.filters.leak import leak_in
from selfinstruct.generation.filters.length import length
from selfinstruct.generation.filters.loop import loop_in
from selfinstruct.generation.filters.near_evaluation import near_evaluation
from selfinstruct.generation.filters.script import first_character, from_first_word, scripts_of
from selfinstruct.generation.frame import Frame
from selfinstruct.novelty.overlap import EvaluationTexts
from selfinstruct.records import Rejection

InstructionFilter = Callable[[str], Rejection | None]


def heuristics(
    filters: Filters, seeds: Sequence[str], frame: Frame | None = None, evaluation: Sequence[EvaluationText] = ()
) -> InstructionFilter:
    """Return all filters of instructions but novelty as one filter; the first that rejects gives the reason.

    Args:
        filters: the options.
        seeds: the seed instructions; an instruction may begin in any script in which one of them begins.
        frame: the words of the prompts, which no instruction may hold; English if None.
        evaluation: evaluation tasks, which no instruction may be near.
    """
    start = from_first_word if filters.opening_punctuation else str
    scripts = scripts_of([start(seed) for seed in seeds])
    chain: list[InstructionFilter] = [
        invalid_characters,
        partial(length, min_words=filters.min_words, max_words=filters.max_words, tokenizer=filters.tokenizer),
        partial(keyword, keywords=filters.keywords),
        lambda text: opening(start(text), openings=filters.openings),
        lambda text: first_character(start(text), scripts=scripts),
    ]
    if filters.leak == "reject":
        chain.append(partial(leak_in, frame=frame))
    if filters.loop == "reject":
        chain.append(loop_in)
    if evaluation and filters.near_evaluation == "reject":
        chain.append(partial(near_evaluation, evaluation=EvaluationTexts(evaluation)))

    def check(text: str) -> Rejection | None:
        return next((rejection for one in chain if (rejection := one(text)) is not None), None)

    return check


__all__ = ["InstructionFilter", "heuristics"]
