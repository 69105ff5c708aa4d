"""What tuning and evaluation left behind: `model/training.json`, `evaluation/scores.json` and the predictions.

These files are the only thing known here of the stages that wrote them. What one of them lacks is left out of the page.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfinstruct import jsonl
from selfinstruct.errors import InputError
from selfinstruct.report.text import shorten

BASE, FEW_SHOT, SEEDS_ONLY, TUNED = "base", "base-few-shot", "seeds-only", "tuned"
ARMS = {
    BASE: "base",
    FEW_SHOT: "base, few-shot",
    SEEDS_ONLY: "tuned on the seeds alone",
    TUNED: "tuned on the generated data",
}
"""How the known arms are called; others go by their own name."""
METRICS = {"rouge_l": "ROUGE-L", "exact_match": "exact match"}
_ANSWERS_PER_SET = 4
_MOST_CATEGORIES = 40
_GENERATED_SET = "validation_unseen"


@dataclass(frozen=True)
class Curve:
    """A named series of (step, value)."""

    name: str
    points: list[tuple[float, float]]


@dataclass(frozen=True)
class Training:
    """A tuning run: named facts to list, loss curves, and the arguments that were given."""

    facts: list[tuple[str, Any]] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    arguments: dict[str, Any] = field(default_factory=dict)


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
    """One set of tasks; `categories` are (name, n, ROUGE-L of each arm), in the order of `arms`."""

    name: str
    written_by_generator: bool
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
    answers: list[Answers]
    settings: dict[str, Any]


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object, or None when the file is not there.

    Raises:
        InputError: the file is there and holds something else.
    """
    if not path.exists():
        return None
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON: {error}; make it again with the stage that writes it") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a JSON object, got {type(value).__name__}; make it again with the stage that writes it")
    return value


# ---------------------------------------------------------------------------------------------- evaluation


def evaluation(folder: Path) -> Evaluation | None:
    """The scores of a run, or None when it was not evaluated."""
    scores = read_json(folder / "scores.json")
    if scores is None:
        return None
    arms = scores.get("arms") or {}
    sets = list(dict.fromkeys(name for arm in arms.values() for name in arm.get("sets") or {}))
    sets.sort(key=lambda name: name == _GENERATED_SET)  # Tasks that people wrote come first.
    return Evaluation(
        verdict=str(scores.get("verdict") or ""),
        sets=[_set(name, arms) for name in sets],
        comparisons=_comparisons(scores.get("comparisons") or [], sets),
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
    categories = [
        (c, sizes[c], [((s.get("per_category") or {}).get(c) or {}).get("rouge_l") for s in there.values()]) for c in sorted(largest)
    ]
    return Set(name, name == _GENERATED_SET, rows, categories)


def _comparisons(found: list[dict[str, Any]], sets: list[str]) -> dict[str, list[Interval]]:
    """By metric; the sets in their order."""
    by_metric: dict[str, list[Interval]] = {}
    for c in sorted(found, key=lambda c: sets.index(c["set"]) if c.get("set") in sets else len(sets)):
        numbers = [c.get(name) for name in ("difference", "low", "high")]
        if not all(isinstance(n, int | float) and math.isfinite(n) for n in numbers):
            continue
        label = f"{c.get('set')}: {c.get('a')} over {c.get('b')}"
        interval = Interval(label, *map(float, numbers), bool(c.get("shown")), c.get("n_tasks"), c.get("confidence"))  # type: ignore[arg-type]
        by_metric.setdefault(str(c.get("metric")), []).append(interval)
    return by_metric


def _answers(folder: Path, arms: list[str], sets: list[str]) -> list[Answers]:
    """Some questions of each set with the answers of every arm: those whose ids hash lowest, whatever the answers."""
    files = {arm: folder / f"predictions-{arm}.jsonl" for arm in arms}
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
