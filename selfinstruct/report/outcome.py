"""What tuning and evaluation left behind: `model/training.json`, `evaluation/scores.json` and the predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from msgspec import to_builtins

from selfinstruct.report.side_by_side import ARMS, Answers, side_by_side
from selfinstruct.run.folders import EvaluationDirectory, ModelDirectory
from selfinstruct.run.scores import (
    BASE,
    FEW_SHOT,
    SEEDS_ONLY,
    TUNED,
    ArmScores,
    Comparison,
    SetScores,
)
from selfinstruct.run.training_record import (
    EvalLoss,
    Losses,
    TrainingRecord,
    TrainLoss,
    read_training_record,
)
from selfinstruct.text import duration, number, shorten, size_text
from tuning.evaluation.metrics import METRICS
from tuning.evaluation.questions import GENERATED_SETS
from tuning.evaluation.tables import Table, tables

_SHORT = {BASE: "base", FEW_SHOT: "few-shot base", SEEDS_ONLY: "seeds alone", TUNED: "tuned"}
METRIC_NAMES = {metric.name: metric.label for metric in METRICS}
_MOST_CATEGORIES = 40


@dataclass(frozen=True, slots=True)
class Curve:
    """A named series of (step, value)."""

    name: str
    points: list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Training:
    """A tuning run.

    Attributes:
        state: `running`, `stopped`, `failed` or `finished`.
        error: why it was stopped or failed.
        facts: (name, value) of what was done.
        curves: the losses over the steps.
        learning_rate: over the steps; empty where it is not recorded.
        arguments: (name, value, whether the user gave it).
        findings: faults of data or settings, found before training.
    """

    state: str
    error: str
    facts: list[tuple[str, str]]
    curves: list[Curve]
    learning_rate: list[tuple[float, float]]
    arguments: list[tuple[str, str, bool]]
    findings: list[str]


@dataclass(frozen=True, slots=True)
class Interval:
    """A difference between two arms, with its interval."""

    set: str
    label: str
    difference: float
    low: float
    high: float
    significant: bool
    n_tasks: int


@dataclass(frozen=True, slots=True)
class Arm:
    """One model, asked in one way, on one set."""

    name: str
    label: str
    scores: SetScores


@dataclass(frozen=True, slots=True)
class Set:
    """One set of tasks.

    Attributes:
        name: of the set.
        written_by: `person`, `program`, `model` (the generator), or `unknown`.
        arms: the scores of each arm.
        categories: (name, number of questions, ROUGE-L of each arm), in the order of `arms`; the largest gain of the
            tuned arm over the base first.
    """

    name: str
    written_by: str
    arms: list[Arm]
    categories: list[tuple[str, int, list[float | None]]]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything the page says about scores.

    Attributes:
        headline: the verdict in one look, without figures; empty where there is none.
        verdict: one sentence for each set.
        sets: the scores; sets that the generator wrote come last.
        comparisons: differences by metric.
        measures: further tables.
        answers: some questions with all answers, those with the largest differences first.
        confidence: of every interval.
    """

    headline: str
    verdict: str
    sets: list[Set]
    comparisons: dict[str, list[Interval]]
    measures: list[Table]
    answers: list[Answers]
    confidence: float

    @property
    def glance(self) -> list[Interval]:
        """Return the differences in ROUGE-L on the tasks that the generator did not write."""
        count = {each.name for each in self.sets if each.written_by != "model"}
        return [each for each in self.comparisons.get("rouge_l", []) if each.set in count]

    @property
    def gained(self) -> bool:
        """Return whether the tuned model is better than another one on one of these sets."""
        return any(each.significant and each.difference > 0 for each in self.glance)


# ---------------------------------------------------------------------------------------------- evaluation


def evaluation(directory: EvaluationDirectory) -> Evaluation | None:
    """Return what the page says about a run's scores, or None when it was not evaluated.

    Raises:
        InputError: a file of the evaluation is damaged.
    """
    if not directory.scores_path.exists():
        return None
    scores = directory.scores()
    sets = sorted(scores.sets(), key=lambda name: name in GENERATED_SETS)
    return Evaluation(
        headline=scores.headline,
        verdict=scores.verdict,
        sets=[_set(name, scores.arms) for name in sets],
        comparisons=_comparisons(scores.comparisons, sets),
        measures=tables(scores, lambda arm: shorten(ARMS.get(arm, arm), 60)),
        answers=side_by_side(directory, scores, sets),
        confidence=scores.settings.get("confidence", 0.95),
    )


def _set(name: str, arms: Mapping[str, ArmScores]) -> Set:
    by_arm = {arm: about.sets[name] for arm, about in arms.items() if name in about.sets}
    sizes: dict[str, int] = {}
    for scores in by_arm.values():
        for category, means in scores.per_category.items():
            sizes[category] = max(sizes.get(category, 0), means.n)
    largest = sorted(sizes, key=lambda c: (-sizes[c], c))[:_MOST_CATEGORIES]
    categories = []
    for category in largest:
        of_arms = [scores.per_category.get(category) for scores in by_arm.values()]
        categories.append((category, sizes[category], [m.rouge_l if m else None for m in of_arms]))
    names = list(by_arm)
    if BASE in names and TUNED in names:
        tuned, base = names.index(TUNED), names.index(BASE)
        categories.sort(key=lambda row: (-((row[2][tuned] or 0) - (row[2][base] or 0)), row[0]))
    author = next(iter(by_arm.values())).written_by or ("model" if name in GENERATED_SETS else "person")
    return Set(name, author, [Arm(arm, ARMS.get(arm, arm), scores) for arm, scores in by_arm.items()], categories)


def _comparisons(made: Sequence[Comparison], sets: list[str]) -> dict[str, list[Interval]]:
    """Return differences by metric; the sets in their order."""
    by_metric: dict[str, list[Interval]] = {}
    for c in sorted(made, key=lambda c: sets.index(c.set) if c.set in sets else len(sets)):
        label = f"{c.set}: {_SHORT.get(c.a, c.a)} over {_SHORT.get(c.b, c.b)}"
        interval = Interval(c.set, label, c.difference, c.low, c.high, c.significant, c.n_tasks)
        by_metric.setdefault(c.metric, []).append(interval)
    return by_metric


# ------------------------------------------------------------------------------------------------ training

_ALWAYS_SHOWN = (
    "learning_rate lr_scheduler_type num_train_epochs max_steps per_device_train_batch_size "
    "gradient_accumulation_steps max_length packing completion_only_loss assistant_only_loss "
    "use_peft lora_r lora_alpha bf16 optim seed"
).split()
"""Arguments worth reading even where they are the defaults; all of them are in training.json."""


def training(model: ModelDirectory) -> Training | None:
    """Return the training run of a model folder, or None when there is none.

    Raises:
        InputError: its record is damaged.
    """
    record = read_training_record(model.record_path)
    if record is None:
        return None
    arguments = record.arguments
    by_user = [name for name in record.given if name in arguments]
    shown = [*by_user, *(name for name in _ALWAYS_SHOWN if name in arguments and name not in by_user)]
    return Training(
        state=record.state,
        error=shorten(record.error or ""),
        facts=[(name, value) for name, value in _training_facts(record) if value],
        curves=_curves(record.loss),
        learning_rate=[(row.step, row.learning_rate) for row in record.loss.train if row.learning_rate is not None],
        arguments=[(shorten(name, 60), shorten(arguments[name], 200), name in by_user) for name in shown],
        findings=[shorten(finding.message, 300) for finding in record.findings[:8]],
    )


def _training_facts(record: TrainingRecord) -> list[tuple[str, str]]:
    parameters, tokens, runtime, loss = record.parameters, record.tokens, record.runtime, record.loss
    method = {"full": "all parameters", "lora": "LoRA"}[record.method]
    if parameters.total:
        method += f", {number(parameters.trainable)} of {number(parameters.total)} parameters trained"
    rows = {name: n for name, n in to_builtins(record.rows).items() if n}
    took = ", ".join(
        text
        for text, value in (
            (f"{number(record.steps)} steps", record.steps),
            (f"{number(record.epochs, 1)} epochs", record.epochs),
            (f"{duration(runtime.train_s)} of training", runtime.train_s),
            (f"{number(runtime.steps_per_s, 2)} steps/s", runtime.steps_per_s),
            (f"{number(runtime.tokens_per_s)} tokens/s", runtime.tokens_per_s),
        )
        if value
    )
    machine = (record.machine.num_processes, record.machine.device)
    return [
        ("Model", shorten(record.model, 200)),
        ("Method", method),
        ("Chosen because of memory", shorten(record.method_reason, 400)),
        ("Rows", ", ".join(f"{number(n)} {name.replace('_', ' ')}" for name, n in rows.items())),
        ("Tokens", f"{number(tokens.trained)} trained on, of {number(tokens.train)} read" if tokens.train else ""),
        ("Took", took),
        ("Peak memory", size_text(record.memory.peak) if record.memory.peak else ""),
        ("Libraries", ", ".join(f"{name} {version}" for name, version in sorted(record.versions.items()))),
        ("Device", " × ".join(str(part) for part in machine if part)),
        *((f"Loss on {split}", _before_and_after(loss.base.get(split), final)) for split, final in loss.final.items()),
    ]


def _before_and_after(base: float | None, final: float | None) -> str:
    return number(final, 3) if base is None else f"{number(base, 3)} before, {number(final, 3)} after"


def _curves(losses: Losses) -> list[Curve]:
    """Return every loss that the trainer logged, by step."""
    logged: dict[str, Sequence[TrainLoss | EvalLoss]] = {"training": losses.train, **losses.evaluation}
    curves = [
        Curve(name, [(row.step, row.loss) for row in rows if row.loss is not None]) for name, rows in logged.items()
    ]
    return [curve for curve in curves if curve.points]
