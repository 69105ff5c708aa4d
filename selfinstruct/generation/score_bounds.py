"""Which inputs keep their answers, by the scores of these (section `scores`). Pure functions; no model is asked.

The best, the worst and the spread of an input's answers are looked at. (Published: prompts whose worst answer is bad,
or whose answers differ much, train badly; RIP, arXiv 2501.18578.) A bound is a score, or the share of the inputs that
lie below it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from selfinstruct.config.schema import Keep
from selfinstruct.config.scoring import Scores
from selfinstruct.errors import ConfigError
from selfinstruct.records import Rejection
from selfinstruct.run import answer_scores
from selfinstruct.run.answer_scores import Place


@dataclass(frozen=True, slots=True)
class ScoreBounds:
    """The scores of one scorer, and what they must reach; None: nothing.

    Attributes:
        scorer: its name.
        values: the scores by place.
        min_best, min_worst, max_spread: of the scores of an input's answers.
    """

    scorer: str
    values: Mapping[Place, float]
    min_best: float | None = None
    min_worst: float | None = None
    max_spread: float | None = None

    @classmethod
    def of(cls, options: Scores, scores: answer_scores.Scores) -> ScoreBounds:
        """Return the bounds; shares are taken of all inputs with a score.

        Args:
            options: the bounds.
            scores: all scores of the run.

        Raises:
            ConfigError: nobody has scored its answers.
        """
        scored = answer_scores.latest(scores, options.scorer)
        if scored is None:
            by = f" by {options.scorer}" if options.scorer else ""
            raise ConfigError(f"no answer of this run has a score{by}; first: selfinstruct rate RUN")
        scorer, values = scored
        by_input: dict[tuple[str, int], list[float]] = defaultdict(list)
        for place, value in values.items():
            by_input[place.id, place.instance].append(value)
        groups = list(by_input.values())
        return cls(
            scorer.name,
            values,
            bound(options.min_best, [max(group) for group in groups]),
            bound(options.min_worst, [min(group) for group in groups]),
            bound(options.max_spread, [max(group) - min(group) for group in groups], from_above=True),
        )

    @property
    def by_name(self) -> dict[str, float]:
        """The bounds that there are, as scores."""
        bounds = {"min_best": self.min_best, "min_worst": self.min_worst, "max_spread": self.max_spread}
        return {name: bound for name, bound in bounds.items() if bound is not None}

    def objection(self, values: Sequence[float]) -> Rejection | None:
        """Return why an input loses its answers; None where it keeps them.

        Args:
            values: the scores of its answers that pass the filters; at least one.
        """
        best, worst = max(values), min(values)
        if self.min_best is not None and best < self.min_best:
            return self._rejection("low_best", best, self.min_best)
        if self.min_worst is not None and worst < self.min_worst:
            return self._rejection("low_worst", worst, self.min_worst)
        if self.max_spread is not None and best - worst > self.max_spread:
            return self._rejection("wide_spread", best - worst, self.max_spread)
        return None

    def _rejection(self, reason: str, value: float, limit: float) -> Rejection:
        return Rejection(reason, {"scorer": self.scorer, "score": round(value, 4), "bound": round(limit, 4)})


def decides(keep: Keep, options: Scores) -> bool:
    """Return whether scores decide which answers are kept.

    Args:
        keep: which of several answers are kept.
        options: what their scores must reach.
    """
    return keep == "best" or options.any_bound


def refuse_unrated(keep: Keep, options: Scores) -> None:
    """Refuse to begin a run that would decide by scores which it cannot have yet.

    Args:
        keep: which of several answers are kept.
        options: what their scores must reach.

    Raises:
        ConfigError: it would.
    """
    if decides(keep, options):
        what = "answer.keep: best" if keep == "best" else "scores"
        raise ConfigError(
            f"{what}: a new run has no scores to decide by; leave it out, let `selfinstruct rate RUN` score the "
            "answers, and then `selfinstruct refilter RUN -o CHOSEN` choose with it"
        )


REASON_OF = {"min_best": "low_best", "min_worst": "low_worst", "max_spread": "wide_spread"}
"""Why answers go, by the bound that their scores miss; they have passed all filters before."""
REASONS = frozenset(REASON_OF.values())


def bound(text: str | None, values: Sequence[float], *, from_above: bool = False) -> float | None:
    """Return a bound as a score; None where there is none, or nothing to take a share of.

    Args:
        text: a score or a share, such as `3.5` or `20%`.
        values: of all inputs.
        from_above: whether what is greater goes, and not what is less.

    >>> bound("25%", [4, 1, 3, 2]), bound("25%", [4, 1, 3, 2], from_above=True), bound("2.5", [])
    (2, 1, 2.5)
    """
    if text is None or not text.endswith("%"):
        return None if text is None else float(text)
    if not values:
        return None
    share, ordered = float(text[:-1]) / 100 * len(values), sorted(values)
    return ordered[max(0, math.ceil(share) - 1) if from_above else math.floor(share)]
