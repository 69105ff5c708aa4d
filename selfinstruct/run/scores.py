"""`evaluation/scores.json`: what the evaluation writes, and the report, the rounds and the model card read.

ROUGE-L, exact match and agreement are in [0, 100], shares in [0, 1], loss in nats per token. `None` (null in the file):
there was nothing to measure, for example exact match without classification tasks. `UNSET` (no such key in the file):
it was not asked for, or the file is older than the field.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from selfinstruct.errors import InputError

SCORES_VERSION = 3
"""3: differences say `significant`; before, they said `shown`."""

BASE, FEW_SHOT, SEEDS_ONLY, TUNED = "base", "base-few-shot", "seeds-only", "tuned"
"""The arms of every evaluation. Users name further ones."""

Interval = tuple[float, float]
"""The low and the high end of a two-sided bootstrap interval."""


class Comparison(Struct, frozen=True, kw_only=True):
    """Arm `a` minus arm `b` on one set of tasks, in points of the metric, with a two-sided interval.

    `significant`: the interval leaves out 0, and there are enough tasks for an interval of this confidence
    (`bootstrap.least_tasks`).
    """

    set: str
    metric: str
    a: str
    b: str
    difference: float
    low: float
    high: float
    confidence: float
    n: int
    n_tasks: int
    significant: bool


class Means(Struct, frozen=True, kw_only=True):
    """Means over answers.

    Attributes:
        n: answers.
        n_tasks: tasks that they answer.
        rouge_l: mean ROUGE-L.
        exact_match: mean exact match of the classification tasks.
        stopped: share that ended by themselves, at an end token or a stop string.
        failed: share that could not be asked (too long for the context, for example); they score as empty.
        empty: share without text.
        no_eos: share that went on until their tokens were used up.
        repeats: share that repeat themselves.
        truncated: share that break off.
        mean_tokens: tokens of an answer.
    """

    n: int
    n_tasks: int
    rouge_l: float | None = None
    exact_match: float | None = None
    stopped: float | None = None
    failed: float | None = None
    empty: float | None = None
    no_eos: float | UnsetType | None = UNSET
    repeats: float | UnsetType | None = UNSET
    truncated: float | UnsetType | None = UNSET
    mean_tokens: float | None = None


class SetScores(Means, frozen=True, kw_only=True):
    """One arm's scores on one set of tasks.

    Attributes:
        written_by: `person`, `program` or `model` (the generator).
        rouge_l_interval: interval of `rouge_l`, over tasks.
        exact_match_interval: interval of `exact_match`, over tasks.
        loss: of the reference answers; the generator's sets and zero-shot arms alone.
        perplexity: exp(loss).
        per_category: means by category of tasks.
    """

    written_by: str | UnsetType = UNSET
    rouge_l_interval: Interval | None = None
    exact_match_interval: Interval | None = None
    loss: float | UnsetType | None = UNSET
    perplexity: float | UnsetType | None = UNSET
    per_category: dict[str, Means] = {}


class Gap(Struct, frozen=True, kw_only=True):
    """Mean score on seen tasks minus that on unseen ones, with a two-sided interval; both sets are resampled."""

    seen: float
    unseen: float
    difference: float
    low: float
    high: float
    seen_tasks: int
    unseen_tasks: int


class LossGap(Struct, frozen=True, kw_only=True):
    """Loss on seen tasks minus that on unseen ones."""

    seen: float
    unseen: float
    difference: float


class Gaps(Struct, frozen=True, kw_only=True):
    """Seen against unseen tasks: in ROUGE-L, in loss, and in what was gained over the base."""

    rouge_l: Gap
    loss: LossGap | UnsetType = UNSET
    rouge_l_over_base: Gap | UnsetType = UNSET


class Agreement(Struct, frozen=True, kw_only=True):
    """How far the answers to the same question agree with each other.

    Attributes:
        n: questions with two answers or more.
        n_tasks: their tasks.
        failed: answers that could not be asked.
        rouge_l: mean ROUGE-L over pairs of answers.
        exact: percentage of pairs that are the same but for case, outer whitespace and final punctuation.
    """

    n: int
    n_tasks: int
    failed: int
    rouge_l: float
    rouge_l_interval: Interval
    exact: float
    exact_interval: Interval


class InstructionScore(Struct, frozen=True, kw_only=True):
    """Percentage of answers that keep one kind of IFEval's constraints."""

    n: int
    strict: float
    loose: float


class ConstraintScores(Struct, frozen=True, kw_only=True):
    """IFEval: percentage of prompts and of instructions that are followed, with intervals over prompts.

    `sentences_by` names the tokenizer that split sentences: `punkt_tab` or `untrained Punkt`.
    """

    n: int
    n_instructions: int
    sentences_by: str | None
    prompt_strict: float | None
    prompt_strict_interval: Interval | None
    instruction_strict: float | None
    instruction_strict_interval: Interval | None
    prompt_loose: float | None
    prompt_loose_interval: Interval | None
    instruction_loose: float | None
    instruction_loose_interval: Interval | None
    per_instruction: dict[str, InstructionScore] = {}


class PlainTextScores(Struct, frozen=True, kw_only=True):
    """How surprised a model is by plain text: perplexity per token, bits per byte of UTF-8.

    `failed` counts chunks that could not be measured; `tokens` and `bytes` are those of the other `chunks`.
    """

    chunks: int
    failed: int
    tokens: int
    bytes: int
    perplexity: float | None
    bits_per_byte: float | None


class TaskMetric(Struct, frozen=True, kw_only=True):
    """One metric of one of lm-eval's tasks, as lm-eval reports it; `n` is the number of documents."""

    value: float
    stderr: float | None = None
    higher_is_better: bool | None = None
    n: int | None = None


class ArmScores(Struct, frozen=True, kw_only=True):
    """Everything that was measured of one arm: a model and a way to prompt it."""

    model: str = ""
    prompting: str = ""
    sets: dict[str, SetScores] = {}
    gap: Gaps | UnsetType = UNSET
    consistency: dict[str, Agreement] | UnsetType = UNSET
    ifeval: ConstraintScores | UnsetType = UNSET
    plain_text: PlainTextScores | UnsetType = UNSET
    lm_eval: dict[str, dict[str, TaskMetric]] | UnsetType = UNSET


class Forgetting(Struct, frozen=True, kw_only=True):
    """Arm `a` minus arm `b` in bits per byte of plain text; more than 0: `a` has forgotten."""

    a: str
    b: str
    difference: float
    low: float
    high: float
    chunks: int
    significant: bool


class JudgedPair(Struct, frozen=True, kw_only=True):
    """Arm `a` judged against arm `b` on one set.

    Attributes:
        n: pairs of answers.
        n_tasks: tasks of the pairs that did not fail.
        wins: pairs in which both judgements name the answer of `a`.
        ties: pairs in which the judgements do not agree, or say so.
        losses: pairs in which both judgements name the answer of `b`.
        failed: pairs with a judgement that says nothing.
        win_rate: in [0, 1]; a tie is half a win, failed pairs are left out.
        low: low end of its interval.
        high: high end of its interval.
        significant: the interval leaves out 1/2, and there are enough tasks.
    """

    a: str
    b: str
    set: str
    n: int
    n_tasks: int
    wins: int
    ties: int
    losses: int
    failed: int
    win_rate: float | None
    low: float | None
    high: float | None
    significant: bool


class PositionBias(Struct, frozen=True, kw_only=True):
    """How far the judge went by the order of the answers.

    Attributes:
        judgements: those that were asked and say something.
        first: share that chose the answer shown first.
        second: share that chose the one shown second.
        tie: share of ties.
        turned: share of pairs whose two judgements contradict each other.
    """

    judgements: int
    first: float | None
    second: float | None
    tie: float | None
    turned: float | None


class JudgeScores(Struct, frozen=True, kw_only=True):
    """The judge's pairs, and how far it can be trusted."""

    pairs: list[JudgedPair]
    position: PositionBias


class Scores(Struct, frozen=True, kw_only=True):
    """Everything that `scores.json` holds."""

    version: int = 0
    arms: dict[str, ArmScores]
    comparisons: list[Comparison] = []
    verdict: str = ""
    settings: dict[str, Any] = {}
    forgetting: list[Forgetting] | UnsetType = UNSET
    judge: JudgeScores | UnsetType = UNSET

    def sets(self) -> list[str]:
        """Return the names of all sets of tasks, each once, in the order of the arms."""
        return list(dict.fromkeys(name for arm in self.arms.values() for name in arm.sets))


def read_scores(path: Path) -> Scores:
    """Read a `scores.json` of this version or an earlier one.

    Raises:
        InputError: it cannot be read, or does not hold scores.
    """
    try:
        return msgspec.convert(_renamed(json.loads(path.read_bytes())), Scores)
    except (OSError, ValueError) as error:  # msgspec.ValidationError is a ValueError.
        raise InputError(f"{path}: cannot be read: {error}; run `selfinstruct evaluate` again") from error


def _renamed(value: Any) -> Any:
    """Return decoded scores with the names of this version."""
    if not isinstance(value, dict) or value.get("version") == SCORES_VERSION:
        return value
    judge = value.get("judge")
    for rows in (value.get("comparisons"), value.get("forgetting"), isinstance(judge, dict) and judge.get("pairs")):
        for row in rows if isinstance(rows, list) else ():
            if isinstance(row, dict) and "shown" in row:
                row["significant"] = row.pop("shown")
    return value
