"""What tuning and evaluation left behind: `model/training.json`, `evaluation/scores.json` and the predictions.

These files are the only thing known here of the stages that wrote them. What one of them lacks is left out of the page.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any, TypeGuard

from selfinstruct.formats import jsonl
from selfinstruct.run.folders import EvaluationDirectory, ModelDirectory
from selfinstruct.text import duration, number, shorten
from tuning.evaluation.tables import Table, tables

BASE, FEW_SHOT, SEEDS_ONLY, TUNED = "base", "base-few-shot", "seeds-only", "tuned"
ARMS = {
    BASE: "base",
    FEW_SHOT: "base, few-shot",
    SEEDS_ONLY: "tuned on the seeds alone",
    TUNED: "tuned on the generated data",
}
"""How the known arms are called; others go by their own name."""
_SHORT = {BASE: "base", FEW_SHOT: "few-shot base", SEEDS_ONLY: "seeds alone", TUNED: "tuned"}
METRICS = {"rouge_l": "ROUGE-L", "exact_match": "exact match"}
_ANSWERS_PER_SET = 4
_MOST_CATEGORIES = 40
_GENERATED_SETS = ("validation_unseen", "validation_seen")


@dataclass(frozen=True)
class Curve:
    """A named series of (step, value)."""

    name: str
    points: list[tuple[float, float]]


@dataclass(frozen=True)
class Training:
    """A tuning run.

    `state` is `running`, `stopped`, `failed` or `finished`, with its `error`; `arguments` are (name, value, whether it
    was given); `findings` what was found wrong with data or settings before training.
    """

    state: str
    error: str
    facts: list[tuple[str, str]]
    curves: list[Curve]
    arguments: list[tuple[str, str, bool]]
    findings: list[str]


@dataclass(frozen=True)
class Interval:
    """A difference between two arms, with its interval; `shown` when the interval leaves out 0."""

    label: str
    difference: float
    low: float
    high: float
    shown: bool
    n_tasks: int | None = None
    confidence: float | None = None


@dataclass(frozen=True)
class Arm:
    """One model, asked in one way, on one set; `scores` are those of scores.json."""

    name: str
    label: str
    model: str
    prompting: str
    scores: dict[str, Any]


@dataclass(frozen=True)
class Set:
    """One set of tasks, by a `person`, a `program` or the generator (`model`).

    `categories` are (name, n, ROUGE-L of each arm), in the order of `arms`.
    """

    name: str
    written_by: str
    arms: list[Arm]
    categories: list[tuple[str, int, list[float | None]]]


@dataclass(frozen=True)
class Answers:
    """One question with what each arm answered, as (label, answer)."""

    id: str
    set: str
    category: str
    instruction: str
    input: str
    references: list[str]
    answers: list[tuple[str, str]]


@dataclass(frozen=True)
class Evaluation:
    """Everything the page says about scores."""

    verdict: str
    sets: list[Set]
    comparisons: dict[str, list[Interval]]
    measures: list[Table]
    answers: list[Answers]
    settings: dict[str, Any]


# ---------------------------------------------------------------------------------------------- evaluation


def evaluation(folder: EvaluationDirectory) -> Evaluation | None:
    """The scores of a run, or None when it was not evaluated."""
    if not folder.scores_path.exists():
        return None
    scores = jsonl.read_json(folder.scores_path)
    arms = scores.get("arms") or {}
    sets = list(dict.fromkeys(name for arm in arms.values() for name in arm.get("sets") or {}))
    sets.sort(key=lambda name: name in _GENERATED_SETS)  # What the generator wrote comes last.
    return Evaluation(
        verdict=str(scores.get("verdict") or ""),
        sets=[_set(name, arms) for name in sets],
        comparisons=_comparisons(scores.get("comparisons") or [], sets),
        measures=tables(scores, lambda arm: shorten(ARMS.get(arm, arm), 60)),
        answers=_answers(folder, list(arms), sets),
        settings=scores.get("settings") or {},
    )


def _set(name: str, arms: dict[str, Any]) -> Set:
    there = {arm: found["sets"][name] for arm, found in arms.items() if name in (found.get("sets") or {})}
    rows = [
        Arm(arm, ARMS.get(arm, arm), str(arms[arm].get("model") or ""), str(arms[arm].get("prompting") or ""), scores)
        for arm, scores in there.items()
    ]
    sizes: dict[str, int] = {}
    for scores in there.values():
        for category, found in (scores.get("per_category") or {}).items():
            sizes[category] = max(sizes.get(category, 0), found.get("n") or 0)
    largest = sorted(sizes, key=lambda c: (-sizes[c], c))[:_MOST_CATEGORIES]
    by_arm = [_section(scores, "per_category") for scores in there.values()]
    categories = [(c, sizes[c], [_section(arm, c).get("rouge_l") for arm in by_arm]) for c in sorted(largest)]
    author = "model" if name in _GENERATED_SETS else str(next(iter(there.values())).get("written_by") or "person")
    return Set(name, author, rows, categories)


def _comparisons(made: list[dict[str, Any]], sets: list[str]) -> dict[str, list[Interval]]:
    """By metric; the sets in their order."""
    by_metric: dict[str, list[Interval]] = {}
    for c in sorted(made, key=lambda c: sets.index(c["set"]) if c.get("set") in sets else len(sets)):
        difference, low, high = (c.get(name) for name in ("difference", "low", "high"))
        if not (_is_number(difference) and _is_number(low) and _is_number(high)):
            continue
        a, b = str(c.get("a")), str(c.get("b"))
        label = f"{c.get('set')}: {_SHORT.get(a, a)} over {_SHORT.get(b, b)}"
        found = Interval(label, difference, low, high, bool(c.get("shown")), c.get("n_tasks"), c.get("confidence"))
        by_metric.setdefault(str(c.get("metric")), []).append(found)
    return by_metric


def _answers(folder: EvaluationDirectory, arms: list[str], sets: list[str]) -> list[Answers]:
    """Some questions of each set with the answers of every arm: those whose ids hash lowest, whatever the answers."""
    files = {arm: folder.rows("predictions", arm) for arm in arms}
    files = {arm: path for arm, path in files.items() if path.exists()}
    if not files:
        return []
    chosen: dict[tuple[str, str], dict[str, Any]] = {}
    rows = [row for _, row in jsonl.read(files.get(TUNED) or next(iter(files.values())))]
    for name in sets:
        of_set = sorted((row for row in rows if row.get("set") == name), key=lambda row: _hash(str(row.get("id"))))
        chosen |= {(name, str(row.get("id"))): row for row in of_set[:_ANSWERS_PER_SET]}
    given: dict[tuple[str, str], list[tuple[str, str]]] = {key: [] for key in chosen}
    for arm, path in files.items():
        for _, row in jsonl.read(path):
            key = (str(row.get("set")), str(row.get("id")))
            if key in given:
                given[key].append((ARMS.get(arm, arm), shorten(row.get("response") or "")))
    return [
        Answers(
            id=key[1],
            set=key[0],
            category=str(row.get("category") or ""),
            instruction=shorten(row.get("instruction") or ""),
            input=shorten(row.get("input") or ""),
            references=[shorten(text, 400) for text in (row.get("references") or [])[:2]],
            answers=given[key],
        )
        for key, row in chosen.items()
    ]


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()


# ------------------------------------------------------------------------------------------------ training

_TOLD = (
    "learning_rate lr_scheduler_type num_train_epochs max_steps per_device_train_batch_size "
    "gradient_accumulation_steps max_length packing completion_only_loss assistant_only_loss "
    "use_peft lora_r lora_alpha bf16 optim seed"
).split()
"""Arguments worth reading even where they are the defaults; all of them are in training.json."""


def training(model: ModelDirectory) -> Training | None:
    """The training run of a model folder, or None when there is none."""
    if not model.record_path.exists():
        return None
    found = jsonl.read_json(model.record_path)
    arguments = _section(found, "arguments")
    given = [name for name in found.get("given") or [] if name in arguments]
    shown = [*given, *(name for name in _TOLD if name in arguments and name not in given)]
    return Training(
        state=str(found.get("state") or "finished"),
        error=shorten(found.get("error") or ""),
        facts=[(name, value) for name, value in _training_facts(found) if value],
        curves=_curves(_section(found, "loss")),
        arguments=[(shorten(name, 60), shorten(arguments[name], 200), name in given) for name in shown],
        findings=[shorten(finding.get("message") or "", 300) for finding in (found.get("findings") or [])[:8]],
    )


def _training_facts(found: dict[str, Any]) -> list[tuple[str, str]]:
    rows, parameters, tokens = (_section(found, name) for name in ("rows", "parameters", "tokens"))
    runtime, loss, machine = (_section(found, name) for name in ("runtime", "loss", "machine"))
    method = {"full": "all parameters", "lora": "LoRA"}.get(str(found.get("method")), str(found.get("method") or ""))
    if parameters:
        method += f", {number(parameters.get('trainable'))} of {number(parameters.get('total'))} parameters trained"
    seconds = runtime.get("train_s")
    took = ", ".join(
        text
        for text, value in (
            (f"{number(found.get('steps'))} steps", found.get("steps")),
            (f"{number(found.get('epochs'), 1)} epochs", found.get("epochs")),
            (f"{duration(seconds) if seconds else ''} of training", seconds),
            (f"{number(runtime.get('steps_per_s'), 2)} steps/s", runtime.get("steps_per_s")),
            (f"{number(runtime.get('tokens_per_s'))} tokens/s", runtime.get("tokens_per_s")),
        )
        if value
    )
    base, final = _section(loss, "base"), _section(loss, "final")
    return [
        ("Model", shorten(found.get("model") or "", 200)),
        ("Method", method),
        ("Rows", ", ".join(f"{number(n)} {name.replace('_', ' ')}" for name, n in rows.items())),
        ("Tokens", f"{number(tokens.get('learnt'))} learnt of {number(tokens.get('train'))} read" if tokens else ""),
        ("Took", took),
        ("Device", " × ".join(str(part) for part in (machine.get("num_processes"), machine.get("device")) if part)),
        *((f"Loss on {split}", _before_and_after(base.get(split), final[split])) for split in final),
    ]


def _before_and_after(base: Any, final: Any) -> str:
    return f"{number(base, 3)} before, {number(final, 3)} after" if _is_number(base) else number(final, 3)


def _curves(loss: dict[str, Any]) -> list[Curve]:
    """Every loss that the trainer logged, by step."""
    logged = {"training": loss.get("train"), **_section(loss, "evaluation")}
    curves = [Curve(name, [point for row in rows or [] if (point := _point(row))]) for name, rows in logged.items()]
    return [curve for curve in curves if curve.points]


def _point(row: dict[str, Any]) -> tuple[float, float] | None:
    step, loss = row.get("step"), row.get("loss")
    return (step, loss) if _is_number(step) and _is_number(loss) else None


def _section(found: dict[str, Any], name: str) -> dict[str, Any]:
    value = found.get(name)
    return value if isinstance(value, dict) else {}


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)
