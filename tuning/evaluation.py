"""The evaluation stage: every arm answers every question through vLLM; scores, differences and a verdict come of it.

    evaluation/predictions-<arm>.jsonl   one answer a line, with what was asked and what was expected
    evaluation/predictions-<arm>.key     hash of all that determines them; while it stands nothing is asked again
    evaluation/scores.json               what `score` returns

An arm is a model and a way to prompt it. By default: `base` (bare instructions), `base-few-shot` (the base in its best
form, cut at its stop), `tuned`, and `seeds-only` where such a model was trained. Each model's engine starts once, and is
gone before the next one starts.

Runs in a process of its own: `python -m tuning.evaluation --run-dir RUN [--model NAME=PATH]...`
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import re
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol

from selfinstruct import config as configuration
from selfinstruct import jsonl, prompts
from selfinstruct import seeds as seed_files
from selfinstruct.config import Config, Sampling
from selfinstruct.engines.base import Engine, Request, RequestFailed
from selfinstruct.errors import ConfigError, InputError, SelfInstructError
from selfinstruct.journal import RunDirectory
from selfinstruct.progress import console, stage
from selfinstruct.prompts import Prompt
from selfinstruct.records import SeedTask
from tuning import compare, questions, scoring, templates
from tuning.compare import BASE, FEW_SHOT, SEEDS_ONLY, TUNED, Score
from tuning.progress import AnswerProgress, show_scores
from tuning.questions import GENERATED_SET, Prompting, Question

SCORES_VERSION = 1
PREDICTIONS_VERSION = 1
"""Raised whenever a prompt's text or what is made of an answer changes: saved predictions are then asked anew."""

Row = dict[str, Any]


class EvaluationEngine(Engine, Protocol):
    """What evaluation asks of an engine beyond generating; `VLLMEngine` has it."""

    tokenizer: Any
    """A transformers tokenizer."""

    def render(self, prompt: Prompt) -> str:
        """The prompt as text."""
        ...

    def encode(self, prompt: Prompt) -> list[int]:
        """Its token ids."""
        ...

    async def response_logprob(self, prompt_ids: list[int], response_ids: list[int]) -> float:
        """Log-probability of a response after a prompt, summed over its tokens."""
        ...


@dataclass(frozen=True, slots=True)
class Arm:
    """A model and a way to prompt it, under a name that is part of a file's."""

    name: str
    model: str
    prompting: Prompting = "zero_shot"
    revision: str | None = None


StartEngine = Callable[[Arm, dict[str, Any]], Awaitable[EvaluationEngine]]
"""Starts the engine of an arm's model with these vLLM arguments."""


def evaluate(config: Config, run: RunDirectory, models: Sequence[str] = (), start: StartEngine | None = None) -> Row:
    """Answer, score and compare; returns what `scores.json` holds. Predictions that are up to date are reused.

    Args:
        config: the run's configuration.
        run: the run directory: its dataset and models are read, its `evaluation/` is written.
        models: further arms beside the default ones, as `NAME=MODEL`; a default arm's name replaces its model.
        start: starts an engine; default: `VLLMEngine`.

    Raises:
        ConfigError: a model cannot be loaded, or there is nothing to evaluate.
        InputError: a task file is broken.
        EngineError: an engine did not start or died; answers of the arms before it are kept.
    """
    asked = questions.load(config, run.dataset)
    shown = _few_shot_seeds(config)
    arms = arms_of(config, run, models)
    if all(arm.name != TUNED for arm in arms):
        console.print(f"{run.model} holds no tuned model: the base alone is evaluated")
    for model in dict.fromkeys((arm.model, arm.revision) for arm in arms):
        waiting = [a for a in arms if (a.model, a.revision) == model and not _up_to_date(a, asked, shown, config, run)]
        if waiting:
            asyncio.run(_answer_with(start or _start_vllm, waiting, asked, shown, config, run))
    predictions = {arm.name: [row for _, row in jsonl.read(_predictions(run, arm))] for arm in arms}
    scores = score(arms, predictions, config)
    jsonl.write_json(run.evaluation / "scores.json", scores)
    return scores


# -------------------------------------------------------------------------------------------------- arms


def arms_of(config: Config, run: RunDirectory, given: Sequence[str] = ()) -> list[Arm]:
    """The default arms of a run, and the given ones.

    Args:
        config: names the base model: the one that is tuned.
        run: where tuned models are looked for.
        given: `NAME=MODEL`, or a model alone, which is then named by the last part of its path; the name of a default
            arm alone stands for that arm.

    Raises:
        ConfigError: a name cannot be part of a file's name, or is given twice.
    """
    base = config.tune.model or config.model
    revision = config.revision if base == config.model else None
    arms = {BASE: Arm(BASE, base, revision=revision), FEW_SHOT: Arm(FEW_SHOT, base, "few_shot", revision)}
    for name, path in ((TUNED, run.model), (SEEDS_ONLY, run.path / "model-seeds")):
        if (path / "config.json").exists() or (path / "adapter_config.json").exists():
            arms[name] = Arm(name, str(path.resolve()))
    named: dict[str, str] = {}
    for text in given:
        name, equals, model = text.partition("=")
        if not equals and name in (BASE, FEW_SHOT, TUNED, SEEDS_ONLY):
            if name not in arms:
                raise ConfigError(f"--model {name}: {run.path} holds no such model yet; tune first")
            continue
        if not equals:
            name, model = Path(text).name, text
        if not re.fullmatch(r"[\w.-]+", name) or not model:
            raise ConfigError(f"--model {text!r}: write NAME=MODEL, with a name of letters, digits, '.', '_' and '-'")
        if name in named:
            raise ConfigError(f"--model {text!r}: the name {name!r} is given twice")
        named[name] = model
    for name, model in named.items():
        arms[name] = Arm(name, model, arms[name].prompting if name in arms else "zero_shot")
        if name == BASE:
            arms[FEW_SHOT] = Arm(FEW_SHOT, model, "few_shot")
    return list(arms.values())


def _few_shot_seeds(config: Config) -> list[SeedTask]:
    seeds = seed_files.load([seed_files.resolve(name) for name in config.seeds])
    return questions.few_shot_examples(seeds, config.evaluate.num_examples, config.seed)


def _engine_arguments(arm: Arm, config: Config) -> dict[str, Any]:
    """vLLM's arguments for an arm: the run's own, less what belongs to the generator's weights alone."""
    if arm.model == config.model:
        return dict(config.engine)
    own = {"tokenizer", "tokenizer_revision", "quantization", "code_revision"}
    return {name: value for name, value in config.engine.items() if name not in own}


async def _start_vllm(arm: Arm, arguments: dict[str, Any]) -> EvaluationEngine:
    from selfinstruct.engines.vllm import VLLMEngine

    return await VLLMEngine.start(arm.model, revision=arm.revision, arguments=arguments)


# ------------------------------------------------------------------------------------------- predictions


def _predictions(run: RunDirectory, arm: Arm) -> Path:
    return run.evaluation / f"predictions-{arm.name}.jsonl"


def _up_to_date(arm: Arm, asked: Sequence[Question], shown: Sequence[SeedTask], config: Config, run: RunDirectory) -> bool:
    path = _predictions(run, arm)
    key = path.with_suffix(".key")
    if not path.exists() or not key.exists() or key.read_text().strip() != _key(arm, asked, shown, config):
        return False
    console.print(f"{arm.name}: {path} is up to date")
    return True


def _key(arm: Arm, asked: Sequence[Question], shown: Sequence[SeedTask], config: Config) -> str:
    """SHA-256 of all that determines an arm's predictions."""
    content = {
        "version": [PREDICTIONS_VERSION, prompts.PROMPTS_VERSION],
        "model": model_fingerprint(arm.model, arm.revision),
        "engine": {k: v for k, v in _engine_arguments(arm, config).items() if k in configuration.ENGINE_IDENTITY},
        "prompting": arm.prompting,
        "prompt_format": _prompt_format(config),
        "examples": seed_files.fingerprint(shown) if arm.prompting == "few_shot" else None,
        "max_tokens": config.evaluate.max_tokens,
        "questions": [asdict(question) for question in asked],
    }
    return hashlib.sha256(jsonl.dumps(content).encode()).hexdigest()


def model_fingerprint(model: str, revision: str | None) -> str:
    """What tells one model from another without reading gigabytes: small files by content, weights by size and time.

    A name on the Hub stands for itself, with its revision.
    """
    from selfinstruct.engines.vllm import resolve_model

    folder = Path(resolve_model(model))
    if not folder.is_dir():
        return f"{model}@{revision or 'main'}"
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in {".json", ".jinja", ".txt"}:
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
        elif path.suffix in {".safetensors", ".bin", ".model"}:
            about = path.stat()
            digest.update(f"{path.name}\0{about.st_size}\0{about.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def _prompt_format(config: Config) -> templates.PromptFormat:
    """The format in which the tuned model was tuned; a base model without a template of its own is asked in it too."""
    return config.tune.arguments.get("prompt_format", "auto")


async def _answer_with(
    start: StartEngine,
    arms: Sequence[Arm],
    asked: Sequence[Question],
    shown: Sequence[SeedTask],
    config: Config,
    run: RunDirectory,
) -> None:
    """Start one model's engine, let each of its arms answer everything, and save each arm's answers as it is done."""
    console.print(f"starting the engine with model {arms[0].model!r}")
    engine = await start(arms[0], _engine_arguments(arms[0], config))
    try:
        if engine.context_length <= config.evaluate.max_tokens:
            raise ConfigError(
                f"`evaluate.max_tokens`: {config.evaluate.max_tokens} tokens of answer leave no room for a question in the "
                f"context of {arms[0].model!r}, {engine.context_length} tokens"
            )
        for arm in arms:
            rows = await answer(engine, arm, asked, shown, config)
            path = _predictions(run, arm)
            path.with_suffix(".key").unlink(missing_ok=True)
            jsonl.write(path, rows)
            jsonl.write_text(path.with_suffix(".key"), _key(arm, asked, shown, config) + "\n")
    finally:
        await engine.close()
        _wait_for_processes()


async def answer(
    engine: EvaluationEngine, arm: Arm, asked: Sequence[Question], shown: Sequence[SeedTask], config: Config
) -> list[Row]:
    """An arm's answers, in the order of the questions; all are given to the engine at once.

    A question that cannot be asked (too long for the context) has an empty answer and the finish reason `failed`.
    """
    if arm.prompting == "zero_shot" and not engine.has_chat_template:
        templates.prepare(engine.tokenizer, _prompt_format(config))
        engine.has_chat_template = True
    sampling = Sampling(max_tokens=config.evaluate.max_tokens)
    with AnswerProgress(arm.name, len(asked)) as progress:

        async def one(question: Question) -> Row:
            row = {**asdict(question), "prompt": "", "response": "", "finish_reason": "failed", "completion_tokens": 0}
            try:
                prompt = _prompt(engine, arm, question, shown, sampling.max_tokens)
                row["prompt"] = engine.render(prompt)
                stop = questions.ANSWER_STOP if arm.prompting == "few_shot" else ()
                completion = await engine.generate(Request(f"{arm.name}/{question.set}/{question.id}", prompt, sampling, stop))
                parse = questions.parse_answer if arm.prompting == "few_shot" else prompts.strip_chat
                row["response"] = parse(completion.text)
                row["finish_reason"] = completion.finish_reason
                row["completion_tokens"] = completion.completion_tokens
                if arm.prompting == "zero_shot" and question.set == GENERATED_SET:
                    row |= await _reference_logprob(engine, prompt, question.references[0])
            except RequestFailed as failure:
                row["failed"] = str(failure)
            progress.advance(row["completion_tokens"])
            return row

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(question)) for question in asked]
    return [task.result() for task in tasks]


def _prompt(
    engine: Engine, arm: Arm, question: Question, shown: Sequence[SeedTask], max_tokens: int
) -> Prompt:
    """The question as the arm puts it; few-shot with as many examples as fit."""
    if arm.prompting == "zero_shot":
        return question.messages
    limit = engine.context_length - max_tokens
    fitted = prompts.fit(
        lambda k: questions.encode_answer(question.instruction, question.input, shown[:k]),
        len(shown),
        limit,
        engine.count_tokens,
    )
    if fitted is None:
        raise RequestFailed("prompt_too_long", f"more than {limit} tokens")
    return fitted[0]


async def _reference_logprob(engine: EvaluationEngine, prompt: Prompt, reference: str) -> Row:
    """Log-probability and number of tokens of the reference answer, the token that ends it included.

    Nothing where they do not fit the context.
    """
    tokenizer = engine.tokenizer
    end = templates.ending(tokenizer) or tokenizer.eos_token
    ids = [*tokenizer(reference.strip(), add_special_tokens=False)["input_ids"], tokenizer.convert_tokens_to_ids(end)]
    try:
        logprob = await engine.response_logprob(engine.encode(prompt), ids)
    except RequestFailed:
        return {}
    return {"reference_logprob": round(logprob, 6), "reference_tokens": len(ids)}


def _wait_for_processes(timeout_s: float = 60.0) -> None:
    """Wait until the engine's processes are gone, and with them the memory that they held on the GPU."""
    import psutil

    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        children = psutil.Process().children(recursive=True)
        if not any(_is_worker(child) for child in children):
            return
        time.sleep(0.1)


def _is_worker(process: Any) -> bool:
    """Whether a child process is of vLLM's, not one of Python's own helpers, which stay until the end."""
    import psutil

    try:
        return process.status() != psutil.STATUS_ZOMBIE and "resource_tracker" not in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


# ------------------------------------------------------------------------------------------------ scores


def score(arms: Sequence[Arm], predictions: Mapping[str, Sequence[Row]], config: Config) -> Row:
    """Everything that `scores.json` holds, from saved predictions alone.

        {"version": 1,
         "arms": {ARM: {"model", "prompting", "sets": {SET: {"n", "n_tasks", "rouge_l", "rouge_l_interval": [low, high],
             "exact_match", "exact_match_interval", "stopped", "empty", "failed", "mean_tokens", "loss"?,
             "per_category": {CATEGORY: {the same without intervals and loss}}}}}},
         "comparisons": [{"set", "metric", "a", "b", "difference", "low", "high", "confidence", "n", "n_tasks", "shown"}],
         "verdict": "...",
         "settings": {...}}

    ROUGE-L and exact match are in [0, 100], shares in [0, 1]; a number that there is none of is null, an interval too.
    """
    options = config.evaluate
    bootstrap: dict[str, Any] = {
        "num_resamples": options.num_resamples, "confidence": options.confidence, "seed": config.seed
    }
    sets = list(dict.fromkeys(row["set"] for rows in predictions.values() for row in rows))
    described: Row = {}
    for arm in arms:
        described[arm.name] = {"model": arm.model, "prompting": arm.prompting, "sets": {}}
        for name in sets:
            rows = [row for row in predictions[arm.name] if row["set"] == name]
            summary = scoring.summarise(rows)
            for metric in scoring.METRICS:
                found = _scores(rows, metric)
                low_high = compare.mean_interval(found, **bootstrap) if found else None
                summary[f"{metric.name}_interval"] = low_high and [round(bound, 6) for bound in low_high]
            described[arm.name]["sets"][name] = summary
    comparisons = list(_comparisons(arms, predictions, sets, bootstrap))
    verdict = compare.verdict(comparisons, [s for s in sets if s != GENERATED_SET], [arm.name for arm in arms])
    return {
        "version": SCORES_VERSION,
        "arms": described,
        "comparisons": [asdict(comparison) for comparison in comparisons],
        "verdict": verdict,
        "settings": {
            **options.model_dump(mode="json"),
            "seed": config.seed,
            "stemmer": False,
            "interval": "percentile bootstrap over tasks, paired for differences",
        },
    }


def _comparisons(
    arms: Sequence[Arm], predictions: Mapping[str, Sequence[Row]], sets: Sequence[str], bootstrap: Mapping[str, Any]
) -> Iterable[compare.Comparison]:
    """The tuned model against every other arm, on each set, by each metric."""
    others = [arm.name for arm in arms if arm.name != TUNED] if TUNED in predictions else []
    for name in sets:
        for metric in scoring.METRICS:
            by_arm = {
                arm: _scores([row for row in rows if row["set"] == name], metric) for arm, rows in predictions.items()
            }
            for other in others:
                found = compare.compare(name, metric.name, (TUNED, by_arm[TUNED]), (other, by_arm[other]), **bootstrap)
                if found is not None:
                    yield found


def _scores(rows: Iterable[Row], metric: scoring.Metric) -> dict[str, Score]:
    """Scores of one set's rows by question."""
    return {row["id"]: Score(row["task"], metric.of(row)) for row in rows if metric.applies(row)}


# --------------------------------------------------------------------------------------------------- main


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate the run of a directory; returns the exit code."""
    parser = argparse.ArgumentParser("python -m tuning.evaluation", description="Answer, score and compare.")
    parser.add_argument("--run-dir", type=Path, required=True, help="run directory")
    parser.add_argument("--config", type=Path, help="configuration (YAML); default: the run's; - reads stdin")
    parser.add_argument(
        "--model", action="append", default=[], metavar="NAME=MODEL", help="a further model, or another for a known arm"
    )
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
