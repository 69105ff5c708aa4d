"""From kept rows to `scores.json`: means, intervals, differences, the gap between seen and unseen tasks, the verdict.

No engine and no model: scoring can be repeated with other options at any time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from selfinstruct.config.schema import Config
from tuning.evaluation import bootstrap as compare
from tuning.evaluation import consistency, forgetting, ifeval, judge, lm_eval_tasks, metrics
from tuning.evaluation.answers import Arm, Row
from tuning.evaluation.bootstrap import BASE, TUNED, Score
from tuning.evaluation.questions import GENERATED_SETS, SEEN_SET, UNSEEN_SET
from tuning.evaluation.verdict import verdict

SCORES_VERSION = 2
PREDICTIONS = "predictions"

Rows = dict[str, dict[str, list[Row]]]
"""Rows by part and arm."""


def score(arms: Sequence[Arm], found: Rows, config: Config) -> Row:
    """Everything that `scores.json` holds, from kept rows alone.

        {"version": 2,
         "arms": {ARM: {"model", "prompting",
             "sets": {SET: {"n", "n_tasks", "written_by",
                 "rouge_l", "rouge_l_interval": [low, high], "exact_match", "exact_match_interval",
                 "stopped", "failed", "empty", "no_eos", "repeats", "truncated", "mean_tokens",
                 "loss", "perplexity" (the generator's sets, zero-shot arms),
                 "per_category": {CATEGORY: {the same without author, intervals, loss and perplexity}}}},
             "gap": {"rouge_l": {"seen", "unseen", "difference", "low", "high", ...}, "loss": {...},
                 "rouge_l_over_base": {...}}, see `compare.gap`,
             "consistency", "plain_text", "ifeval", "lm_eval": see `score` of their modules}},
         "comparisons": [{"set", "metric", "a", "b", "difference", "low", "high", "confidence", "n", "n_tasks",
             "shown"}],
         "forgetting": [{"a", "b", "difference" in bits per byte, "low", "high", ...}],
         "judge": {"model", "pairs": [...]}, see `judge.score`,
         "verdict": "...", "settings": {...}}

    ROUGE-L and exact match are in [0, 100], shares in [0, 1], loss in nats per token. What there is none of (exact
    match without classification tasks) is null; what was not asked for is left out.
    """
    options = config.evaluate
    bootstrap = {"num_resamples": options.num_resamples, "confidence": options.confidence, "seed": config.seed}
    predictions = found[PREDICTIONS]
    by_set = {arm: _by_set(rows) for arm, rows in predictions.items()}
    authors = _authors(predictions.values())
    comparisons = list(_comparisons(by_set, list(authors), bootstrap))
    described = {arm.name: _described(arm, found, by_set, authors, bootstrap) for arm in arms}
    scores = {
        "version": SCORES_VERSION,
        "arms": described,
        "comparisons": [asdict(comparison) for comparison in comparisons],
        "verdict": verdict(
            comparisons,
            [name for name, author in authors.items() if author == "person" and name not in GENERATED_SETS],
            list(predictions),
            [name for name, author in authors.items() if author == "program"],
        ),
        "settings": {
            **options.model_dump(mode="json"),
            "seed": config.seed,
            "stemmer": sorted({row["set"] for rows in predictions.values() for row in rows if row.get("stemmer")}),
            "interval": "percentile bootstrap over tasks, paired for differences",
        },
    }
    if found.get(forgetting.PART):
        scores["forgetting"] = forgetting.compared(found[forgetting.PART], TUNED, **bootstrap)
    if found.get(judge.PART):
        scores["judge"] = judge.score(found[judge.PART], **bootstrap)
    return scores


def _by_set(rows: Sequence[Row]) -> dict[str, list[Row]]:
    sets: dict[str, list[Row]] = {}
    for row in rows:
        sets.setdefault(row["set"], []).append(row)
    return sets


def _authors(predictions: Iterable[Sequence[Row]]) -> dict[str, str]:
    """Who wrote each set: `person` only where people wrote every task of it."""
    rank = ("person", "program", "model")
    authors: dict[str, str] = {}
    for rows in predictions:
        for row in rows:
            author = row.get("written_by", "model" if row["set"] in GENERATED_SETS else "person")
            authors[row["set"]] = max(authors.get(row["set"], "person"), author, key=rank.index)
    return authors


def _described(
    arm: Arm,
    found: Rows,
    by_set: Mapping[str, Mapping[str, Sequence[Row]]],
    authors: Mapping[str, str],
    bootstrap: Mapping[str, Any],
) -> Row:
    """What `scores.json` says of one arm."""
    own = by_set[arm.name]
    about: Row = {
        "model": arm.model,
        "prompting": arm.prompting,
        "sets": {name: {"written_by": authors[name], **_summary(rows, bootstrap)} for name, rows in own.items()},
    }
    gap = _gap(own, by_set.get(BASE, {}) if arm.name != BASE else {}, bootstrap)
    if gap:
        about["gap"] = gap
    for name, part, scored in (
        ("consistency", consistency.PART, lambda rows: consistency.score(rows, **bootstrap)),
        ("ifeval", ifeval.PART, lambda rows: ifeval.score(rows, **bootstrap)),
        ("plain_text", forgetting.PART, forgetting.score),
        ("lm_eval", lm_eval_tasks.PART, lm_eval_tasks.score),
    ):
        rows = found.get(part, {}).get(arm.name)
        if rows:
            about[name] = scored(rows)
    return about


def _gap(own: Mapping[str, Sequence[Row]], base: Mapping[str, Sequence[Row]], bootstrap: Mapping[str, Any]) -> Row:
    """An arm on tasks it was trained on against tasks it never saw; also what it gained there over the base."""
    metric = metrics.METRICS[0]
    seen, unseen = (_scores(own.get(name, ()), metric) for name in (SEEN_SET, UNSEEN_SET))
    gap: Row = {}
    plain = compare.gap(seen, unseen, **bootstrap)
    if plain is None:
        return gap
    gap[metric.name] = asdict(plain)
    losses = [metrics.validation_loss(own[name]) for name in (SEEN_SET, UNSEEN_SET)]
    if losses[0] is not None and losses[1] is not None:
        gap["loss"] = {"seen": losses[0], "unseen": losses[1], "difference": round(losses[0] - losses[1], 6)}
    base_seen, base_unseen = (_scores(base.get(name, ()), metric) for name in (SEEN_SET, UNSEEN_SET))
    gained = compare.gap(compare.less(seen, base_seen), compare.less(unseen, base_unseen), **bootstrap)
    if gained is not None:
        gap[f"{metric.name}_over_base"] = asdict(gained)
    return gap


def _summary(rows: Sequence[Row], bootstrap: Mapping[str, Any]) -> Row:
    summary = metrics.summarise(rows)
    for metric in metrics.METRICS:
        found = _scores(rows, metric)
        bounds = compare.mean_interval(found, **bootstrap) if found else None
        summary[f"{metric.name}_interval"] = bounds and [round(bound, 6) for bound in bounds]
    return summary


def _comparisons(
    by_set: Mapping[str, Mapping[str, Sequence[Row]]], sets: Sequence[str], bootstrap: Mapping[str, Any]
) -> Iterable[compare.Comparison]:
    """The tuned model against every other arm, on each set, by each metric."""
    if TUNED not in by_set:
        return
    for name in sets:
        for metric in metrics.METRICS:
            by_arm = {arm: _scores(found.get(name, ()), metric) for arm, found in by_set.items()}
            for other in by_arm:
                tuned, against = (TUNED, by_arm[TUNED]), (other, by_arm[other])
                found = compare.compare(name, metric.name, tuned, against, **bootstrap) if other != TUNED else None
                if found is not None:
                    yield found


def _scores(rows: Iterable[Row], metric: metrics.Metric) -> dict[str, Score]:
    """Scores of one set's rows by question."""
    return {row["id"]: Score(row["task"], metric.of(row)) for row in rows if metric.applies(row)}
