"""The evaluation stage: did the data help? Arms answer questions; scores, differences and a verdict are made of that.

An arm is a model and a way to prompt it. By default: `base` (bare instructions), `base-few-shot` (the base in its best
form, cut at its stop), `tuned`, and `seeds-only` where such a model was trained. What is written, in `evaluation/`:

    predictions-<arm>.jsonl    answers to the questions, see `answers.py`
    consistency-<arm>.jsonl    answers to paraphrases, and sampled ones, see `consistency.py`
    ifeval-<arm>.jsonl         answers under constraints that a program checks, see `ifeval.py`
    constraints-<arm>.jsonl    likewise, of the project's own types, see `constraints.py`
    plain-text-<arm>.jsonl     log-probabilities of the user's text, see `forgetting.py`
    judgements-<arm>.jsonl     the tuned model's answers against the arm's, see `judge.py`
    lm-eval-<arm>.jsonl        results of lm-eval's tasks, see `lm_eval_tasks.py`
    scores.json                see `selfinstruct/run/scores.py`
    kept/                      all rows that were ever made, see `answer_cache.py`

All but predictions and scores are written when asked for, and all only when the whole evaluation has succeeded.
The stage runs in a process of its own: `python -m tuning.evaluate --run-dir RUN [--model NAME=MODEL]...`
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from selfinstruct import packaged
from selfinstruct.config.later_stages import Evaluate
from selfinstruct.config.schema import Config
from selfinstruct.console import console
from selfinstruct.errors import ConfigError, InputError
from selfinstruct.formats import jsonl, seed_tasks
from selfinstruct.generation.examples import few_shot_examples
from selfinstruct.generation.frame import load_frame
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.scores import ARMS, BASE, FEW_SHOT, SEEDS_ONLY, TUNED, Scores
from tuning.evaluation import consistency, constraints, forgetting, ifeval, judge, leakage, lm_eval_tasks
from tuning.evaluation.answer_cache import AnswerCache, Made, R
from tuning.evaluation.answers import PREDICTIONS, Answer, Arm, EvaluationEngine, answer
from tuning.evaluation.evaluation_plan import EvaluationPlan
from tuning.evaluation.measurement import Measurement, StartEngine, measure, start_vllm
from tuning.evaluation.mixture_questions import mixture_questions
from tuning.evaluation.questions import Question, load_questions
from tuning.evaluation.score_rows import EvaluationRows, score
from tuning.training.launch import tuned_from


def evaluate(
    config: Config,
    run: RunDirectory,
    models: Sequence[str] = (),
    start: StartEngine = start_vllm,
    start_judge: judge.StartJudge = judge.start,
) -> Scores:
    """Answer, score and compare; write and return the scores. Answers that are up to date are reused.

    Args:
        config: the run's configuration.
        run: the run directory: its dataset and models are read, its `evaluation/` is written.
        models: further arms beside the default ones, see `arms_of`.
        start: starts an engine.
        start_judge: starts the judge's engine.

    Raises:
        ConfigError: a model cannot be loaded, or there is nothing to evaluate.
        InputError: a task file is broken.
        EngineError: an engine did not start or died; the answers before are kept.
    """
    options = config.evaluate
    base, revision = tuned_from(config.tune, config.model, config.revision)
    arms = arms_of(Arm(BASE, base, revision=revision), run, models)
    judged = bool(options.judge or options.judge_endpoint)
    if judged:
        judge.judge_identity(options)  # Raises if there is no such judge, before any engine starts.
    if options.lm_eval:
        lm_eval_tasks.check(options)
    if all(arm.name != TUNED for arm in arms):
        why = "the last tuning failed" if run.model.failure else "holds no tuned model yet"
        console.print(f"{run.model.path}: {why}; the base is evaluated alone")
    cache = AnswerCache(run.evaluation)
    seeds = seed_tasks.load_seed_tasks(config.seeds)
    frame = load_frame(config.prompt_language)
    plan = EvaluationPlan.of(config, few_shot_examples(seeds, options.num_examples, config.seed, frame))
    lines = ifeval.read(packaged.resolve(options.ifeval)) if options.ifeval else {}
    questions = [*load_questions(options, run.dataset), *mixture_questions(run.model, options)]
    measurements = _measurements(plan, questions, lines)
    measured = measure(plan, measurements, arms, cache, start)
    rows = EvaluationRows(
        predictions=_in_order(measured[PREDICTIONS.name]),
        consistency=_in_order(measured.get(consistency.VARIANTS.name, {})),
        ifeval=ifeval.check_answers(cache, measured.get(ifeval.CONSTRAINED.name, {}), lines),
        constraints=_in_order(measured.get(constraints.CHECKED.name, {})),
        plain_text=_in_order(measured.get(forgetting.CHUNKS.name, {})),
        lm_eval=lm_eval_tasks.run(plan, cache, arms) if options.lm_eval else {},
    )
    if judged:
        rows = replace(rows, judgements=judge.judge(plan, cache, rows.predictions, start_judge))
    rows.write(cache)
    return _write_scores(run, options, config.seed, arms, rows)


def _in_order(by_arm: Mapping[str, Mapping[str, R]]) -> dict[str, list[R]]:
    return {arm: list(rows.values()) for arm, rows in by_arm.items()}


def score_saved(run: RunDirectory, options: Evaluate, seed: int) -> Scores:
    """Score the kept rows, whatever they were made from; write and return the scores.

    No engine, no model and no task file is needed.

    Args:
        run: the run directory.
        options: the section `evaluate`.
        seed: of the bootstrap.

    Raises:
        InputError: there are no predictions, or a file is broken.
    """
    cache = AnswerCache(run.evaluation)
    names = sorted(cache.arms(PREDICTIONS), key=lambda name: (*ARMS, name).index(name))
    if not names:
        raise InputError(
            f"{run.evaluation.path}: holds no predictions to score; run `selfinstruct evaluate {run.path}`"
        )
    before = run.evaluation.scores().arms if run.evaluation.scores_path.exists() else {}
    arms = []
    for name in names:
        prompting = before[name].prompting if name in before else ""
        few_shot = prompting == "few_shot" or (not prompting and name == FEW_SHOT)
        model = before[name].model if name in before else ""
        arms.append(Arm(name, model, "few_shot" if few_shot else "zero_shot"))
    rows = EvaluationRows.read(cache, names)
    return _write_scores(run, options, seed, arms, rows)


def _write_scores(run: RunDirectory, options: Evaluate, seed: int, arms: Sequence[Arm], rows: EvaluationRows) -> Scores:
    leaks = leakage.find(run, arms, rows.predictions)
    scores = score(arms, rows, options, seed, leaks)
    jsonl.write_json(run.evaluation.scores_path, msgspec.to_builtins(scores))
    return scores


def _measurements(
    plan: EvaluationPlan, questions: Sequence[Question], lines: dict[str, ifeval.Line]
) -> list[Measurement[Any]]:
    """Return what is measured of every arm."""

    async def make(engine: EvaluationEngine, arm: Arm, numbers: Sequence[int], made: Made[Answer]) -> None:
        await answer(engine, arm, [questions[k] for k in numbers], plan, made=lambda k, row: made(numbers[k], row))

    contents = [{**question.fields(), "message": question.message} for question in questions]
    measurements: list[Measurement[Any]] = [Measurement(PREDICTIONS, contents, make)]
    if plan.options.consistency:
        measurements.append(consistency.measurement(plan, questions))
    if lines:
        measurements.append(ifeval.measurement(plan, lines))
    if plan.options.constraints:
        measurements.append(constraints.measurement(plan, constraints.read(plan.options.constraints)))
    if plan.options.plain_text:
        measurements.append(forgetting.measurement(plan.options.plain_text))
    return measurements


def arms_of(base: Arm, run: RunDirectory, models: Sequence[str] = ()) -> list[Arm]:
    """Return the default arms of a run, and further ones.

    Args:
        base: the model that is tuned.
        run: where tuned models are looked for.
        models: `NAME=MODEL`, or a model alone, which is then named by the last part of its path. The name of a default
            arm replaces that arm's model; alone, it means the arm as it is.

    Raises:
        ConfigError: a name cannot be part of a file's name, is used twice, or is that of an arm that does not exist.
    """
    arms = {BASE: base, FEW_SHOT: Arm(FEW_SHOT, base.model, "few_shot", base.revision)}
    for name, tuned in ((TUNED, run.model), (SEEDS_ONLY, run.seeds_model)):
        if tuned.holds_model and tuned.failure is None:
            arms[name] = Arm(name, str(tuned.path.resolve()))
    seen: set[str] = set()
    for text in models:
        name, equals, model = text.partition("=")
        if not equals and name in ARMS:
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
