"""The evaluation stage: did the data help? Arms answer questions; scores, differences and a verdict come of it.

An arm is a model and a way to prompt it. By default: `base` (bare instructions), `base-few-shot` (the base in its best
form, cut at its stop), `tuned`, and `seeds-only` where such a model was trained. What is written, in `evaluation/`:

    predictions-<arm>.jsonl    answers to the questions, see `answers.py`
    consistency-<arm>.jsonl    answers to paraphrases, and sampled ones, see `consistency.py`
    ifeval-<arm>.jsonl         answers under constraints that a program checks, see `ifeval.py`
    plain-text-<arm>.jsonl     log-probabilities of the user's text, see `forgetting.py`
    judgements-<arm>.jsonl     the tuned model's answers against the arm's, see `judge.py`
    lm-eval-<arm>.jsonl        results of lm-eval's tasks, see `lm_eval_tasks.py`
    scores.json                see `score`

All but the first are there when asked for. Runs in a process of its own:
`python -m tuning.evaluate --run-dir RUN [--model NAME=MODEL]... [--score-only]`
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfinstruct.config.schema import Config
from selfinstruct.console import console
from selfinstruct.errors import ConfigError, InputError
from selfinstruct.formats import jsonl, seed_tasks
from selfinstruct.generation import prompts
from selfinstruct.run.directory import RunDirectory
from tuning.evaluation import consistency, forgetting, ifeval, judge, lm_eval_tasks, questions
from tuning.evaluation.answer_cache import Asking, Folder, Part, StartEngine, start_vllm
from tuning.evaluation.answers import Arm, EvaluationEngine, Row, answer
from tuning.evaluation.bootstrap import BASE, FEW_SHOT, SEEDS_ONLY, TUNED
from tuning.evaluation.questions import Question
from tuning.evaluation.scores import PREDICTIONS, Rows, score

_KNOWN = (BASE, FEW_SHOT, TUNED, SEEDS_ONLY)
_PARTS = (PREDICTIONS, consistency.PART, ifeval.PART, forgetting.PART, judge.PART, lm_eval_tasks.PART)


def evaluate(
    config: Config,
    run: RunDirectory,
    models: Sequence[str] = (),
    start: StartEngine = start_vllm,
    start_judge: judge.StartJudge = judge.start,
) -> Row:
    """Answer, score and compare; returns what `scores.json` holds. Answers that are up to date are reused.

    Args:
        config: the run's configuration.
        run: the run directory: its dataset and models are read, its `evaluation/` is written.
        models: further arms beside the default ones, see `arms_of`.
        start: starts an engine.
        start_judge: starts the judge's.

    Raises:
        ConfigError: a model cannot be loaded, or there is nothing to evaluate.
        InputError: a task file is broken.
        EngineError: an engine did not start or died; answers of the arms before it are kept.
    """
    arms = arms_of(config, run, models)
    judged = bool(config.evaluate.judge or config.evaluate.judge_endpoint)
    if judged:
        judge.check(config)
    if config.evaluate.lm_eval:
        lm_eval_tasks.check(config)
    if all(arm.name != TUNED for arm in arms):
        console.print(f"{run.model.path} holds no tuned model yet: the base is evaluated alone")
    folder = Folder(run.evaluation)
    seeds = seed_tasks.load_seed_tasks(config.seeds)
    shown = prompts.few_shot_examples(seeds, config.evaluate.num_examples, config.seed)
    parts = _parts(config, questions.load_questions(config, run.dataset), shown)
    found: Rows = dict(Asking(config, folder, parts, shown, start).of(arms))
    if config.evaluate.lm_eval:
        found[lm_eval_tasks.PART] = lm_eval_tasks.run(config, folder, arms)
    if judged:
        found[judge.PART] = judge.judge(config, folder, found[PREDICTIONS], start_judge)
    scores = score(arms, found, config)
    jsonl.write_json(run.evaluation.scores_path, scores)
    return scores


def score_saved(config: Config, run: RunDirectory) -> Row:
    """Scores from what is kept, whatever it was made from; no engine, no model, no task file is needed.

    Raises:
        InputError: there are no predictions, or a file is broken.
    """
    folder = Folder(run.evaluation)
    names = sorted(folder.arms(PREDICTIONS), key=lambda name: (*_KNOWN, name).index(name))
    if not names:
        raise InputError(
            f"{run.evaluation.path}: holds no predictions to score; run `selfinstruct evaluate {run.path}`"
        )
    found: Rows = {part: {arm: rows for arm in names if (rows := folder.rows(part, arm))} for part in _PARTS}
    scores = score([_described(name, folder) for name in names], found, config)
    jsonl.write_json(run.evaluation.scores_path, scores)
    return scores


def _described(name: str, folder: Folder) -> Arm:
    """An arm as the last evaluation described it."""
    about = folder.scores().get("arms", {}).get(name, {})
    return Arm(name, about.get("model", ""), about.get("prompting", "few_shot" if name == FEW_SHOT else "zero_shot"))


def _parts(config: Config, asked: Sequence[Question], shown: Sequence[Any]) -> list[Part]:
    """What every arm is asked; measuring comes last (see `VLLMEngine.response_logprob`)."""

    async def make(engine: EvaluationEngine, arm: Arm) -> list[Row]:
        return await answer(engine, arm, asked, shown, config)

    parts = [Part(PREDICTIONS, [{**q.row(), "message": q.message} for q in asked], make)]
    if config.evaluate.consistency:
        parts.append(consistency.part(config, asked, shown))
    if config.evaluate.ifeval:
        parts.append(ifeval.part(config, shown))
    if config.evaluate.plain_text:
        parts.append(forgetting.part(config))
    return parts


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
    for name, tuned in ((TUNED, run.model), (SEEDS_ONLY, run.seeds_model)):
        if tuned.holds_model:
            arms[name] = Arm(name, str(tuned.path.resolve()))
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
