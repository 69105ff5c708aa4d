"""The evaluation stage: did the data help? Arms answer questions; scores, differences and a verdict come of it.

An arm is a model and a way to prompt it. By default: `base` (bare instructions), `base-few-shot` (the base in its best
form, cut at its stop), `tuned`, and `seeds-only` where such a model was trained. What is written:

    evaluation/predictions-<arm>.jsonl   see `answers.py`
    evaluation/scores.json               see `score`

Runs in a process of its own: `python -m tuning.evaluation --run-dir RUN [--model NAME=MODEL]...`
"""

from __future__ import annotations

import argparse
import re
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from selfinstruct import config as configuration
from selfinstruct import jsonl
from selfinstruct.config import Config
from selfinstruct.errors import ConfigError, InputError, SelfInstructError
from selfinstruct.journal import RunDirectory
from selfinstruct.progress import console
from tuning import compare, questions, scoring
from tuning.answers import Answers, Arm, Row, StartEngine, start_vllm
from tuning.compare import BASE, FEW_SHOT, SEEDS_ONLY, TUNED, Score
from tuning.progress import show_scores
from tuning.questions import GENERATED_SET

SCORES_VERSION = 1
_KNOWN = (BASE, FEW_SHOT, TUNED, SEEDS_ONLY)


def evaluate(config: Config, run: RunDirectory, models: Sequence[str] = (), start: StartEngine = start_vllm) -> Row:
    """Answer, score and compare; returns what `scores.json` holds. Answers that are up to date are reused.

    Args:
        config: the run's configuration.
        run: the run directory: its dataset and models are read, its `evaluation/` is written.
        models: further arms beside the default ones, see `arms_of`.
        start: starts an engine.

    Raises:
        ConfigError: a model cannot be loaded, or there is nothing to evaluate.
        InputError: a task file is broken.
        EngineError: an engine did not start or died; answers of the arms before it are kept.
    """
    asked = questions.load(config, run.dataset)
    arms = arms_of(config, run, models)
    if all(arm.name != TUNED for arm in arms):
        console.print(f"{run.model} holds no tuned model yet: the base is evaluated alone")
    scores = score(arms, Answers(config, run.evaluation, asked, start).of(arms), config)
    jsonl.write_json(run.evaluation / "scores.json", scores)
    return scores


def arms_of(config: Config, run: RunDirectory, given: Sequence[str] = ()) -> list[Arm]:
    """The default arms of a run, and the given ones.

    Args:
        config: names the base model: the one that is tuned.
        run: where tuned models are looked for.
        given: `NAME=MODEL`, or a model alone, which is then named by the last part of its path. The name of a default
            arm replaces that arm's model; alone, it stands for the arm as it is.

    Raises:
        ConfigError: a name cannot be part of a file's name, is given twice, or stands for an arm that is not there.
    """
    base = config.tune.model or config.model
    revision = config.revision if base == config.model else None
    arms = {BASE: Arm(BASE, base, revision=revision), FEW_SHOT: Arm(FEW_SHOT, base, "few_shot", revision)}
    for name, folder in ((TUNED, run.model), (SEEDS_ONLY, run.seeds_model)):
        if (folder / "config.json").exists() or (folder / "adapter_config.json").exists():
            arms[name] = Arm(name, str(folder.resolve()))
    seen: set[str] = set()
    for text in given:
        name, equals, model = text.partition("=")
        if not equals and name in _KNOWN:
            if name not in arms:
                raise ConfigError(f"--model {name}: {run.path} holds no such model yet; tune first")
            continue
        if not equals:
            name, model = Path(text).name, text
        if not re.fullmatch(r"[\w.-]+", name) or not model:
            raise ConfigError(f"--model {text}: write NAME=MODEL, with a name of letters, digits, '.', '_' and '-'")
        if name in seen:
            raise ConfigError(f"--model {text}: there is another model named {name!r}; name this one NAME={model}")
        seen.add(name)
        arms[name] = Arm(name, model, "few_shot" if name == FEW_SHOT else "zero_shot")
        if name == BASE and FEW_SHOT not in seen:
            arms[FEW_SHOT] = Arm(FEW_SHOT, model, "few_shot")
    return list(arms.values())


def score(arms: Sequence[Arm], predictions: Mapping[str, Sequence[Row]], config: Config) -> Row:
    """Everything that `scores.json` holds, from saved answers alone.

        {"version": 1,
         "arms": {ARM: {"model", "prompting", "sets": {SET: {"n", "n_tasks",
             "rouge_l", "rouge_l_interval": [low, high], "exact_match", "exact_match_interval",
             "stopped", "empty", "failed", "mean_tokens", "loss" (validation_unseen, zero-shot arms),
             "per_category": {CATEGORY: {the same without intervals and loss}}}}}},
         "comparisons": [{"set", "metric", "a", "b", "difference", "low", "high", "confidence", "n", "n_tasks",
             "shown"}],
         "verdict": "...", "settings": {...}}

    ROUGE-L and exact match are in [0, 100], shares in [0, 1], loss in nats per token. What there is none of (exact
    match without classification tasks) is null.
    """
    options = config.evaluate
    bootstrap = {"num_resamples": options.num_resamples, "confidence": options.confidence, "seed": config.seed}
    sets = list(dict.fromkeys(row["set"] for rows in predictions.values() for row in rows))
    described: Row = {
        arm.name: {
            "model": arm.model,
            "prompting": arm.prompting,
            "sets": {
                name: _summary([r for r in predictions[arm.name] if r["set"] == name], bootstrap) for name in sets
            },
        }
        for arm in arms
    }
    comparisons = list(_comparisons(predictions, sets, bootstrap))
    return {
        "version": SCORES_VERSION,
        "arms": described,
        "comparisons": [asdict(comparison) for comparison in comparisons],
        "verdict": compare.verdict(comparisons, [s for s in sets if s != GENERATED_SET], list(predictions)),
        "settings": {
            **options.model_dump(mode="json"),
            "seed": config.seed,
            "stemmer": False,
            "interval": "percentile bootstrap over tasks, paired for differences",
        },
    }


def _summary(rows: Sequence[Row], bootstrap: Mapping[str, Any]) -> Row:
    summary = scoring.summarise(rows)
    for metric in scoring.METRICS:
        found = _scores(rows, metric)
        bounds = compare.mean_interval(found, **bootstrap) if found else None
        summary[f"{metric.name}_interval"] = bounds and [round(bound, 6) for bound in bounds]
    return summary


def _comparisons(
    predictions: Mapping[str, Sequence[Row]], sets: Sequence[str], bootstrap: Mapping[str, Any]
) -> Iterable[compare.Comparison]:
    """The tuned model against every other arm, on each set, by each metric."""
    if TUNED not in predictions:
        return
    for name in sets:
        for metric in scoring.METRICS:
            by_arm = {
                arm: _scores([row for row in rows if row["set"] == name], metric) for arm, rows in predictions.items()
            }
            for other in predictions:
                tuned, against = (TUNED, by_arm[TUNED]), (other, by_arm[other])
                found = compare.compare(name, metric.name, tuned, against, **bootstrap) if other != TUNED else None
                if found is not None:
                    yield found


def _scores(rows: Iterable[Row], metric: scoring.Metric) -> dict[str, Score]:
    """Scores of one set's rows by question."""
    return {row["id"]: Score(row["task"], metric.of(row)) for row in rows if metric.applies(row)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate the run of a directory; returns the exit code."""
    parser = argparse.ArgumentParser("python -m tuning.evaluation", description="Answer, score and compare.")
    parser.add_argument("--run-dir", type=Path, required=True, help="run directory")
    parser.add_argument("--config", type=Path, help="configuration (YAML); default: the run's; - reads stdin")
    parser.add_argument("--model", action="append", default=[], metavar="NAME=MODEL", help="a further arm; repeatable")
    options = parser.parse_args(arguments)
    run = RunDirectory(options.run_dir)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)
    try:
        if options.config is None and not run.config.exists():
            raise InputError(f"{run.path} is no run directory: it has no config.yaml; give one with --config FILE")
        config = configuration.load(options.config or run.config, {})
        show_scores(evaluate(config, run, options.model))
    except SelfInstructError as error:
        console.print(f"error: {error}", markup=False)
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


def _leave(number: int, _: Any) -> NoReturn:
    """End by a signal in good order: the engine is closed on the way out."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
