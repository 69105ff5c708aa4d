"""From kept rows to `scores.json`: means, intervals, differences, the gap between seen and unseen tasks, the verdict.

No engine and no model: scoring can be repeated with other options at any time. The types of the result are in
`selfinstruct/run/scores.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import UNSET, UnsetType

from selfinstruct.config.later_stages import Evaluate
from selfinstruct.records import SEEN, UNSEEN, WrittenBy
from selfinstruct.run.scores import BASE, SCORES_VERSION, TUNED, ArmScores, Comparison, Gaps, LossGap, Scores, SetScores
from tuning.evaluation import consistency, constraints, forgetting, ifeval, judge, lm_eval_tasks, metrics
from tuning.evaluation.answer_cache import AnswerCache, RowFile
from tuning.evaluation.answers import PREDICTIONS, Answer, Arm
from tuning.evaluation.bootstrap import Resampling, Score, compare, gap, mean_interval, subtract
from tuning.evaluation.chance import chance_level
from tuning.evaluation.leakage import Leaks
from tuning.evaluation.mixture_questions import MIXTURE_SETS
from tuning.evaluation.questions import GENERATED_SETS
from tuning.evaluation.verdict import headline, verdict

_AUTHORS: tuple[WrittenBy, ...] = ("person", "unknown", "program", "model")


@dataclass(frozen=True, slots=True)
class EvaluationRows:
    """All rows of an evaluation, by arm."""

    predictions: dict[str, list[Answer]]
    consistency: dict[str, list[consistency.Variant]] = field(default_factory=dict)
    ifeval: dict[str, list[ifeval.ConstrainedAnswer]] = field(default_factory=dict)
    constraints: dict[str, list[constraints.CheckedAnswer]] = field(default_factory=dict)
    plain_text: dict[str, list[forgetting.Chunk]] = field(default_factory=dict)
    judgements: dict[str, list[judge.Judgement]] = field(default_factory=dict)
    lm_eval: dict[str, list[lm_eval_tasks.TaskResult]] = field(default_factory=dict)

    @classmethod
    def read(cls, cache: AnswerCache, arms: Sequence[str]) -> EvaluationRows:
        """Return the rows of the last evaluation of these arms."""
        return cls(
            **{name: {arm: rows for arm in arms if (rows := cache.read(file, arm))} for name, file in _FILES.items()}
        )

    def write(self, cache: AnswerCache) -> None:
        """Write the rows as those of the last evaluation."""
        for name, file in _FILES.items():
            for arm, rows in getattr(self, name).items():
                cache.write(file, arm, rows)


_FILES: dict[str, RowFile[Any]] = {
    "predictions": PREDICTIONS,
    "consistency": consistency.VARIANTS,
    "ifeval": ifeval.CONSTRAINED,
    "constraints": constraints.CHECKED,
    "plain_text": forgetting.CHUNKS,
    "judgements": judge.JUDGEMENTS,
    "lm_eval": lm_eval_tasks.RESULTS,
}
"""The file of each kind of rows."""


def score(
    arms: Sequence[Arm], rows: EvaluationRows, options: Evaluate, seed: int, leaks: Leaks | None = None
) -> Scores:
    """Return everything that `scores.json` holds.

    Args:
        arms: the models and how they were prompted.
        rows: their rows.
        options: the section `evaluate`: resamples and confidence.
        seed: of the resampling.
        leaks: the tasks that arms were trained on.
    """
    resampling = Resampling.of(options, seed)
    leaks = leaks or {}
    by_set = {arm: _by_set(answers) for arm, answers in rows.predictions.items()}
    authors = _authors(rows.predictions.values())
    comparisons = list(_comparisons(by_set, list(authors), resampling, leaks))
    stemmed = {row.set for answers in rows.predictions.values() for row in answers if row.stemmer}
    by_arm = {arm.name: _arm_scores(arm, rows, by_set, authors, resampling, leaks.get(arm.name, {})) for arm in arms}
    apart = (*GENERATED_SETS, *MIXTURE_SETS)
    deciding = [name for name, author in authors.items() if author in ("person", "unknown") and name not in apart]
    unknown = {name for name, author in authors.items() if author == "unknown"}
    programs = [name for name, author in authors.items() if author == "program" and name not in apart]
    return Scores(
        version=SCORES_VERSION,
        arms=by_arm,
        comparisons=comparisons,
        headline=headline(comparisons, by_arm, deciding, programs, unknown),
        verdict=verdict(comparisons, by_arm, deciding, programs, leaks, unknown),
        leaks={arm: {name: list(tasks) for name, tasks in of_arm.items()} for arm, of_arm in leaks.items()} or UNSET,
        settings={
            **options.model_dump(mode="json"),
            "seed": seed,
            "stemmer": sorted(stemmed),
            "interval": "percentile bootstrap over tasks, paired for differences",
        },
        forgetting=forgetting.compared(rows.plain_text, TUNED, resampling) if rows.plain_text else UNSET,
        constraints=constraints.compared(rows.constraints, TUNED, resampling) if rows.constraints else UNSET,
        judge=judge.score(rows.judgements, resampling) if rows.judgements else UNSET,
    )


def _by_set(answers: Sequence[Answer]) -> dict[str, list[Answer]]:
    sets: dict[str, list[Answer]] = {}
    for row in answers:
        sets.setdefault(row.set, []).append(row)
    return sets


def _authors(predictions: Iterable[Sequence[Answer]]) -> dict[str, WrittenBy]:
    """Return who wrote each set: `person` only where people wrote every task of it."""
    authors: dict[str, WrittenBy] = {}
    for answers in predictions:
        for row in answers:
            authors[row.set] = max(authors.get(row.set, "person"), row.author, key=_AUTHORS.index)
    return authors


def _arm_scores(
    arm: Arm,
    rows: EvaluationRows,
    by_set: Mapping[str, Mapping[str, Sequence[Answer]]],
    authors: Mapping[str, WrittenBy],
    resampling: Resampling,
    leaks: Mapping[str, Sequence[str]],
) -> ArmScores:
    own, base = by_set[arm.name], by_set.get(BASE, {}) if arm.name != BASE else {}
    variants = rows.consistency.get(arm.name)
    constrained = [row for row in rows.ifeval.get(arm.name, ()) if row.strict]  # Without answers not checked yet.
    followed = rows.constraints.get(arm.name)
    chunks, results = rows.plain_text.get(arm.name), rows.lm_eval.get(arm.name)
    return ArmScores(
        model=arm.model,
        prompting=arm.prompting,
        sets={
            name: _set_scores(answers, authors[name], resampling, leaks.get(name, ())) for name, answers in own.items()
        },
        gap=_gaps(own, base, (SEEN, UNSEEN), resampling),
        mixture_gap=_gaps(own, base, MIXTURE_SETS, resampling),
        consistency=consistency.score(variants, resampling) if variants else UNSET,
        ifeval=ifeval.score(constrained, resampling) if constrained else UNSET,
        constraints=constraints.score(followed, resampling) if followed else UNSET,
        plain_text=forgetting.score(chunks) if chunks else UNSET,
        lm_eval=lm_eval_tasks.score(results) if results else UNSET,
    )


def _gaps(
    own: Mapping[str, Sequence[Answer]],
    base: Mapping[str, Sequence[Answer]],
    sets: tuple[str, str],
    resampling: Resampling,
) -> Gaps | UnsetType:
    """Return an arm's gap between two sets, seen and unseen tasks; also that of what it gained there over the base."""
    metric = metrics.METRICS[0]
    seen, unseen = (_scores(own.get(name, ()), metric) for name in sets)
    plain = gap(seen, unseen, resampling)
    if plain is None:
        return UNSET
    seen_loss, unseen_loss = (metrics.validation_loss(own[name]) for name in sets)
    loss: LossGap | UnsetType = UNSET
    if seen_loss is not None and unseen_loss is not None:
        loss = LossGap(seen=seen_loss, unseen=unseen_loss, difference=round(seen_loss - unseen_loss, 6))
    base_seen, base_unseen = (_scores(base.get(name, ()), metric) for name in sets)
    gained = gap(subtract(seen, base_seen), subtract(unseen, base_unseen), resampling)
    return Gaps(rouge_l=plain, loss=loss, rouge_l_over_base=gained or UNSET)


def _set_scores(
    answers: Sequence[Answer], author: WrittenBy, resampling: Resampling, leaks: Sequence[str]
) -> SetScores:
    by_metric = {metric.name: _scores(answers, metric) for metric in metrics.METRICS}
    intervals = {name: mean_interval(scores, resampling) for name, scores in by_metric.items() if scores}
    chance = chance_level(_without(answers, leaks), metrics.METRICS[0].of, resampling)
    return metrics.summarise(answers, author, intervals, chance)


def _comparisons(
    by_set: Mapping[str, Mapping[str, Sequence[Answer]]], sets: Sequence[str], resampling: Resampling, leaks: Leaks
) -> Iterator[Comparison]:
    """Yield the tuned model against every other arm, on each set, by each metric."""
    if TUNED not in by_set:
        return
    for name in sets:
        for metric in metrics.METRICS:
            tuned = _without(by_set[TUNED].get(name, ()), leaks.get(TUNED, {}).get(name, ()))
            for other, answers in by_set.items():
                if other == TUNED:
                    continue
                baseline = _without(answers.get(name, ()), leaks.get(other, {}).get(name, ()))
                pair = (TUNED, _scores(tuned, metric)), (other, _scores(baseline, metric))
                comparison = compare(name, metric.name, *pair, resampling)
                if comparison is not None:
                    yield comparison


def _without(answers: Sequence[Answer], tasks: Sequence[str]) -> list[Answer]:
    left_out = set(tasks)
    return [row for row in answers if row.task not in left_out]


def _scores(answers: Iterable[Answer], metric: metrics.Metric) -> dict[str, Score]:
    """Return the scores of one set's answers by question."""
    return {row.id: Score(row.task, metric.of(row)) for row in answers if metric.applies(row)}
