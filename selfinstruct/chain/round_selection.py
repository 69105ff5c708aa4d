"""Select the best of several rounds, and tell whether the last ones still helped.

All rounds are measured on the same tasks: those that the first round held out (`validation_unseen`), with the outputs
that the first round has for them. A task's split follows from its id. So every later round holds out these tasks as
well, and its tuned model has answered them. Tasks that people wrote play no part here: they are left for the verdict.

A model wrote these tasks, and to come closer to its outputs is not the same as to be better. The measure shows when a
further round no longer changes anything that can be seen, and it leaves the verdict untouched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from selfinstruct.records import UNSEEN
from selfinstruct.run.folders import EvaluationDirectory
from selfinstruct.run.rounds_record import Gain, HeldOut, Round
from selfinstruct.run.scores import TUNED, Comparison
from tuning.evaluation.answer_cache import read_rows
from tuning.evaluation.answers import PREDICTIONS, Answer
from tuning.evaluation.bootstrap import Resampling, Score, compare, mean_interval
from tuning.evaluation.metrics import METRICS


@dataclass(frozen=True, slots=True)
class RoundSelection:
    """What is known after some rounds; rounds are numbered from 0 here.

    Attributes:
        held_out: the score of each round on the held-out tasks; None where nothing is held out.
        compared_with: for each round, the one that was the best before it; itself for the first.
        gains: its difference to that one; None for the first, and where nothing is held out.
        best: the round with the highest mean, the earliest of equals; the last where nothing is held out.
        without_gain: rounds since one was significantly better than the best before it.
    """

    held_out: list[HeldOut | None]
    compared_with: list[int]
    gains: list[Comparison | None]
    best: int
    without_gain: int

    def completed(self, rounds: Sequence[Round]) -> list[Round]:
        """Return the results of the rounds with their held-out scores and gains."""
        return [
            replace(result, held_out=held_out, gain=gain and _gain(gain, rounds[before].run))
            for result, held_out, before, gain in zip(
                rounds, self.held_out, self.compared_with, self.gains, strict=True
            )
        ]


def _gain(comparison: Comparison, over: str) -> Gain:
    return Gain(
        over=over,
        difference=comparison.difference,
        low=comparison.low,
        high=comparison.high,
        significant=comparison.significant,
    )


def select_best_round(evaluations: Sequence[EvaluationDirectory], resampling: Resampling) -> RoundSelection:
    """Compare the rounds whose evaluations are in these directories, in order.

    Args:
        evaluations: the `evaluation/` of each round.
        resampling: how the intervals are made.

    Raises:
        InputError: a file of predictions is missing or damaged.
    """
    return select_best(held_out_scores(evaluations), resampling)


def held_out_scores(evaluations: Sequence[EvaluationDirectory]) -> list[dict[str, Score]]:
    """Return each round's ROUGE-L on the tasks that the first round held out, by question.

    Raises:
        InputError: a file of predictions is missing or damaged.
    """
    rouge_l = METRICS[0]
    by_question: dict[tuple[str, str], Answer] = {}
    by_round = []
    for k, evaluation in enumerate(evaluations):
        rows = [r for r in read_rows(evaluation.rows(PREDICTIONS.name, TUNED), Answer) if r.set == UNSEEN]
        if k == 0:
            by_question = {(row.instruction, row.input): row for row in rows}
        scores = {}
        for row in rows:
            first = by_question.get((row.instruction, row.input))
            if first is not None:
                scores[first.id] = Score(first.task, rouge_l.of(replace(row, references=first.references)))
        by_round.append(scores)
    return by_round


def select_best(scores: Sequence[Mapping[str, Score]], resampling: Resampling) -> RoundSelection:
    """Compare rounds by their scores.

    A round is better than the best before it when its mean is higher, and significantly better when the paired
    bootstrap interval of the difference also leaves out 0.

    Args:
        scores: of each round, by question.
        resampling: how the intervals are made.
    """
    compared_with: list[int] = []
    gains: list[Comparison | None] = []
    best = without_gain = 0
    for k, of_round in enumerate(scores):
        before = (str(best), scores[best])
        gain = compare(UNSEEN, "rouge_l", (str(k), of_round), before, resampling) if k else None
        compared_with.append(best)
        gains.append(gain)
        # Where nothing is held out there is nothing to choose by: the last round has seen the most data.
        if gain is None or gain.difference > 0:
            best = k
        without_gain = 0 if gain is None or (gain.significant and gain.difference > 0) else without_gain + 1
    held_out = [_held_out(of_round, resampling) for of_round in scores]
    return RoundSelection(held_out, compared_with, gains, best, without_gain)


def _held_out(scores: Mapping[str, Score], resampling: Resampling) -> HeldOut | None:
    if not scores:
        return None
    return HeldOut(
        rouge_l=round(sum(score.value for score in scores.values()) / len(scores), 6),
        interval=mean_interval(scores, resampling),
        n=len(scores),
        n_tasks=len({score.task for score in scores.values()}),
    )
