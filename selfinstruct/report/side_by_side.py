"""Questions with the answers of all models side by side: where tuning helped most, where it harmed most, and others.

The largest differences are no fair picture, so questions that a hash chooses follow them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from selfinstruct.run.folders import EvaluationDirectory
from selfinstruct.run.scores import BASE, FEW_SHOT, SEEDS_ONLY, TUNED, Scores
from selfinstruct.text import shorten
from selfinstruct.text_hash import digest
from tuning.evaluation.answer_cache import AnswerCache
from tuning.evaluation.answers import PREDICTIONS, Answer
from tuning.evaluation.metrics import rouge_l
from tuning.evaluation.questions import GENERATED_SETS

ARMS = {
    BASE: "base",
    FEW_SHOT: "base, few-shot",
    SEEDS_ONLY: "tuned on the seeds alone",
    TUNED: "tuned on the generated data",
}
"""How the default arms are called; others have their own name."""
_EXTREMES = 3
"""Questions with the largest gain, and with the largest loss."""
_PER_SET = 4
"""Questions of each set that a hash chooses."""

Chosen = Literal["gain", "loss", "hash"]


@dataclass(frozen=True, slots=True)
class Answers:
    """One question with the answer of each arm, as (label, answer).

    `chosen` says why it is shown; `difference` is the tuned model's ROUGE-L less the base's, None where one is missing.
    """

    id: str
    set: str
    category: str
    instruction: str
    input: str
    references: list[str]
    answers: list[tuple[str, str]]
    chosen: Chosen
    difference: float | None


def side_by_side(directory: EvaluationDirectory, scores: Scores, sets: Sequence[str]) -> list[Answers]:
    """Return some questions with all answers: the largest gains, the largest losses, then a few of each set by a hash.

    Gains and losses are those of the tuned model over the base, of questions that the generator did not write.

    Args:
        directory: the answers.
        scores: names the arms.
        sets: the sets in their order.
    """
    cache = AnswerCache(directory)
    read = {arm: cache.read(PREDICTIONS, arm) for arm in scores.arms}
    by_arm = {arm: {(row.set, row.id): row for row in of_arm} for arm, of_arm in read.items() if of_arm}
    if not by_arm:
        return []
    rows = by_arm.get(TUNED) or next(iter(by_arm.values()))
    differences = _differences(by_arm)
    ordered = sorted(differences, key=lambda key: (-differences[key], digest(key[1])))
    chosen: dict[tuple[str, str], Chosen] = {}
    chosen |= {key: "gain" for key in ordered[:_EXTREMES] if differences[key] > 0}
    chosen |= {key: "loss" for key in reversed(ordered[-_EXTREMES:]) if differences[key] < 0}
    for name in sets:
        of_set = sorted((key for key in rows if key[0] == name and key not in chosen), key=lambda key: digest(key[1]))
        chosen |= dict.fromkeys(of_set[:_PER_SET], "hash")
    return [_answers(key, by_arm, rows[key], why, differences.get(key)) for key, why in chosen.items()]


def _differences(by_arm: Mapping[str, Mapping[tuple[str, str], Answer]]) -> dict[tuple[str, str], float]:
    base = by_arm.get(BASE, {})
    return {
        key: _score(row) - _score(base[key])
        for key, row in by_arm.get(TUNED, {}).items()
        if key in base and row.set not in GENERATED_SETS and row.references
    }


def _score(row: Answer) -> float:
    return rouge_l(row.references, row.response)


def _answers(
    key: tuple[str, str],
    by_arm: Mapping[str, Mapping[tuple[str, str], Answer]],
    row: Answer,
    why: Chosen,
    difference: float | None,
) -> Answers:
    return Answers(
        id=row.id,
        set=row.set,
        category=row.category,
        instruction=shorten(row.instruction),
        input=shorten(row.input),
        references=[shorten(text, 400) for text in row.references[:2]],
        answers=[(ARMS.get(arm, arm), shorten(rows[key].response)) for arm, rows in by_arm.items() if key in rows],
        chosen=why,
        difference=difference,
    )
