"""How rounds stand among each other: which is the best, and whether the last ones helped.

All rounds are measured by the same yardstick: the tasks that the first round held out (`validation_unseen`), with the
outputs that it has for them. A task's split follows from its id, so that every later round holds them out as well and
its tuned model has answered them. Tasks that people wrote play no part here: they are left for the verdict.

A model wrote the yardstick, and to come closer to it is not the same as to be better; it tells when another round no
longer changes anything that can be seen, and costs the verdict nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from selfinstruct.config.schema import Config
from selfinstruct.formats import jsonl
from selfinstruct.run.folders import EvaluationDirectory
from tuning.evaluation.questions import UNSEEN_SET

if TYPE_CHECKING:
    from tuning.evaluation.bootstrap import Comparison, Score

Row = dict[str, Any]


@dataclass(frozen=True)
class Standing:
    """What is known after some rounds.

    Attributes:
        held_out: {"rouge_l", "interval", "n", "n_tasks"} of each round; None where nothing is held out.
        against: for each round, the one that was the best before it; itself for the first.
        gains: its difference to that one; None for the first, and where nothing is held out.
        best: the round with the highest mean, the earliest of equals; the last where nothing is held out.
        without_gain: rounds since one was shown to be better than the best before it.
    """

    held_out: list[Row | None]
    against: list[int]
    gains: list[Row | None]
    best: int
    without_gain: int

    def table(self) -> list[tuple[Row | None, int, Row | None]]:
        """(held_out, against, gain) of each round."""
        return list(zip(self.held_out, self.against, self.gains, strict=True))


def stand(evaluations: Sequence[EvaluationDirectory], config: Config) -> Standing:
    """How the rounds stand whose evaluations are in these folders, in order.

    Raises:
        InputError: a file of predictions is missing or damaged.
    """
    return judge(measure(evaluations), config)


def measure(evaluations: Sequence[EvaluationDirectory]) -> list[dict[str, Score]]:
    """Each round's ROUGE-L by question of the yardstick."""
    from tuning.evaluation.bootstrap import TUNED, Score
    from tuning.evaluation.metrics import METRICS

    (rouge_l,) = (metric for metric in METRICS if metric.name == "rouge_l")
    yardstick: dict[tuple[str, str], Row] = {}
    measured = []
    for k, folder in enumerate(evaluations):
        rows = [row for _, row in jsonl.read(folder.rows("predictions", TUNED)) if row["set"] == UNSEEN_SET]
        if k == 0:
            yardstick = {(row["instruction"], row["input"]): row for row in rows}
        scores = {}
        for row in rows:
            same = yardstick.get((row["instruction"], row["input"]))
            if same is not None:
                scores[same["id"]] = Score(same["task"], rouge_l.of(row | {"references": same["references"]}))
        measured.append(scores)
    return measured


def judge(scores: Sequence[Mapping[str, Score]], config: Config) -> Standing:
    """How rounds with these scores by question stand.

    A round is better than the best before it when its mean is higher, and is shown to be so when the paired bootstrap
    interval of the difference leaves out 0.
    """
    from tuning.evaluation.bootstrap import compare

    bootstrap = _bootstrap(config)
    against: list[int] = []
    gains: list[Comparison | None] = []
    best = without_gain = 0
    for k, found in enumerate(scores):
        before = best
        gain = compare(UNSEEN_SET, "rouge_l", (str(k), found), (str(best), scores[best]), **bootstrap) if k else None
        against.append(before)
        gains.append(gain)
        # Where nothing is held out there is nothing to choose by: the last round has seen the most data.
        if gain is None or gain.difference > 0:
            best = k
        without_gain = 0 if gain is None or (gain.shown and gain.difference > 0) else without_gain + 1
    return Standing(
        [_mean(found, bootstrap) for found in scores],
        against,
        [
            None
            if gain is None
            else {"difference": gain.difference, "low": gain.low, "high": gain.high, "shown": gain.shown}
            for gain in gains
        ],
        best,
        without_gain,
    )


def _bootstrap(config: Config) -> dict[str, Any]:
    options = config.evaluate
    return {"num_resamples": options.num_resamples, "confidence": options.confidence, "seed": config.seed}


def _mean(scores: Mapping[str, Score], bootstrap: Mapping[str, Any]) -> Row | None:
    from tuning.evaluation.bootstrap import mean_interval

    if not scores:
        return None
    low, high = mean_interval(scores, **bootstrap)
    return {
        "rouge_l": round(sum(score.value for score in scores.values()) / len(scores), 6),
        "interval": [round(low, 6), round(high, 6)],
        "n": len(scores),
        "n_tasks": len({score.task for score in scores.values()}),
    }
