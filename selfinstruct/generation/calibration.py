"""Calibrate the yes-or-no questions: ask about texts whose answer is known, and find the log-odds that tell them apart.

A model prefers one of the two words whatever it is asked (Zhao et al. 2021, arXiv 2102.09690). What it thinks is in
the difference between texts. So an answer counts as yes from a threshold on, which is in the journal's header: no
replay needs a model for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from selfinstruct.engines.base import Engine, Request, RequestFailed
from selfinstruct.generation.is_task import log_odds
from selfinstruct.generation.steps import Steps
from selfinstruct.records import Instruction, SeedTask
from selfinstruct.run.header_values import Calibration

LEAST_AUC = 0.7
"""Below it a question does not tell texts apart well enough to decide anything."""
LEAST_TEXTS = 5
"""Fewest texts of each answer."""
MOST_TEXTS = 120
"""Most texts that a question is asked about."""
LOST = 0.05
"""Share of the seeds that may be taken for no task."""

Ask = Callable[[], Request]


async def calibrate(steps: Steps, engine: Engine) -> dict[str, Calibration]:
    """Return what the engine's answers about the seeds say, by question; no entry where it says nothing.

    Args:
        steps: the method and its seeds.
        engine: asked once about each text, at the cost of one token.

    Raises:
        EngineError: the engine is gone.
    """
    calibrations: dict[str, Calibration] = {}
    if not engine.tells_logprobs:
        return calibrations
    if steps.method.filters.is_task != "off":
        texts = steps.known_texts.held_out[:MOST_TEXTS]
        asked = [(_is_task(steps, k, text.text), text.is_task) for k, text in enumerate(texts)]
        yes, no = await _asked(engine, asked)
        if min(len(yes), len(no)) >= LEAST_TEXTS:
            calibrations["is_task"] = _calibration(yes, no, 1.0, losing(yes, LOST))
    if steps.method.classification.calibrate:
        seeds = _to_classify(steps)
        asked = [(_classification(steps, seed), seed.is_classification) for seed in seeds]
        yes, no = await _asked(engine, asked)
        if min(len(yes), len(no)) >= LEAST_TEXTS:
            share = sum(seed.is_classification for seed in steps.seeds) / len(steps.seeds)
            calibrations["classification"] = _calibration(yes, no, share, balancing(yes, no, share))
    return calibrations


def remarks(steps: Steps, calibration: dict[str, Calibration]) -> list[str]:
    """Return what a user should know of the calibration, one sentence for each question that decides nothing."""
    names = {"is_task": "whether a text is a task", "classification": "which tasks are classification tasks"}
    remedies = {
        "is_task": "no instruction is rejected for it (filters.is_task)",
        "classification": "the likelier of yes and no counts, uncalibrated",
    }
    return [
        f"the model cannot tell {names[name]} (AUC {measured.auc:.2f} on {measured.yes + measured.no} texts; "
        f"0.5 is chance): {remedies[name]}"
        for name, measured in calibration.items()
        if measured.threshold is None and not (name == "is_task" and steps.method.filters.is_task_threshold is not None)
    ]


def _is_task(steps: Steps, number: int, text: str) -> Ask:
    return lambda: steps.is_task_request(f"is_task/calibration/{number}", text)


def _classification(steps: Steps, seed: SeedTask) -> Ask:
    return lambda: steps.classification_request(Instruction(seed.id, seed.instruction, -1), without=seed)


def _to_classify(steps: Steps) -> list[SeedTask]:
    """Return seeds to ask about: those that the prompt does not show; the others, too, where these are too few.

    A seed is never an example in the question about itself. Without it the prompt is another, which no cache knows.
    """
    hidden = [seed for seed in steps.seeds if seed not in steps.classification_examples]
    kinds = [sum(seed.is_classification == kind for seed in hidden) for kind in (True, False)]
    return (hidden if min(kinds) >= 2 * LEAST_TEXTS else steps.seeds)[:MOST_TEXTS]


async def _asked(engine: Engine, texts: Sequence[tuple[Ask, bool]]) -> tuple[list[float], list[float]]:
    """Return the log-odds of the texts whose answer is yes, and of the others; those that fail are left out.

    The first text is asked alone, so that the others find the examples in the prefix cache.
    """

    async def one(ask: Ask) -> float | None:
        try:
            return log_odds(await engine.generate(ask()))
        except RequestFailed:
            return None

    first = [await one(ask) for ask, _ in texts[:1]]
    answers = first + await asyncio.gather(*(one(ask) for ask, _ in texts[1:]))
    yes = [odds for odds, (_, answer) in zip(answers, texts, strict=True) if odds is not None and answer]
    no = [odds for odds, (_, answer) in zip(answers, texts, strict=True) if odds is not None and not answer]
    return yes, no


def _calibration(yes: Sequence[float], no: Sequence[float], share: float, threshold: float) -> Calibration:
    area = auc(yes, no)
    return Calibration(
        len(yes), len(no), round(share, 4), round(area, 4), round(threshold, 4) if area >= LEAST_AUC else None
    )


def auc(yes: Sequence[float], no: Sequence[float]) -> float:
    """Return how often a value of `yes` is greater than one of `no`; a tie counts half."""
    greater = sum((a > b) + 0.5 * (a == b) for a in yes for b in no)
    return greater / (len(yes) * len(no))


def losing(yes: Sequence[float], share: float) -> float:
    """Return the greatest value that at most this share of `yes` falls below."""
    return sorted(yes)[int(share * len(yes))]


def balancing(yes: Sequence[float], no: Sequence[float], share: float) -> float:
    """Return the threshold at which a yes is missed as often as a no is taken for one: then their number is right.

    Args:
        yes: values of texts whose answer is yes.
        no: of all others.
        share: share of the answer yes where the threshold will be used; that of `yes` here may differ.
    """

    def imbalance(threshold: float) -> float:
        missed = sum(value < threshold for value in yes) / len(yes)
        taken = sum(value >= threshold for value in no) / len(no)
        return abs(share * missed - (1 - share) * taken)

    return min(_between({*yes, *no}), key=imbalance)


def _between(values: Iterable[float]) -> list[float]:
    """Return a threshold between each two neighbours of the values, and the least value."""
    ordered = sorted(values)
    return [ordered[0], *((a + b) / 2 for a, b in pairwise(ordered))]
