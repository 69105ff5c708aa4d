"""`evaluation/scores.json`: the evaluation writes it; the report, the rounds and the model card read it.

ROUGE-L, exact match and agreement are in [0, 100], shares in [0, 1], loss in nats per token.

`None` (null in the file): there was nothing to measure, for example exact match without classification tasks. `UNSET`
(no such key in the file): the measurement was not requested, or the file is older than the field.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from selfinstruct.run.stored import read_stored

SCORES_VERSION = 3
"""Version of the format. Version 3 renamed `shown` to `significant` in differences."""

ARMS = BASE, FEW_SHOT, TUNED, SEEDS_ONLY = "base", "base-few-shot", "tuned", "seeds-only"
"""The arms of every evaluation. Users can add arms with other names."""

Interval = tuple[float, float]
"""The low and the high end of a two-sided bootstrap interval."""


class Comparison(Struct, frozen=True, kw_only=True):
    """The score of arm `a` minus that of arm `b` on one set of tasks, in points of the metric.

    `low` and `high` are the ends of a two-sided interval.

    `significant`: whether the interval excludes 0 and there are enough tasks for an interval of this confidence
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
        n: number of answers.
        n_tasks: number of their tasks.
        rouge_l: mean ROUGE-L.
        rouge_l_equal: mean ROUGE-L of answers cut to the length of their references.
        exact_match: mean exact match of the classification tasks.
        stopped: share of answers that ended at an end token or a stop string.
        failed: share of questions that could not be asked, for example because they are too long for the context. Each
            scores like an empty answer.
        empty: share of answers without text.
        no_eos: share of answers that used all their tokens.
        repeats: share of answers that repeat themselves.
        truncated: share of answers that end in the middle of a text.
        mean_tokens: mean number of tokens of an answer.
    """

    n: int
    n_tasks: int
    rouge_l: float | None = None
    rouge_l_equal: float | UnsetType | None = UNSET
    exact_match: float | None = None
    stopped: float | None = None
    failed: float | None = None
    empty: float | None = None
    no_eos: float | UnsetType | None = UNSET
    repeats: float | UnsetType | None = UNSET
    truncated: float | UnsetType | None = UNSET
    mean_tokens: float | None = None


class ChanceLevel(Struct, frozen=True, kw_only=True):
    """What an arm's answers score with the references of other tasks.

    Attributes:
        mean: their mean ROUGE-L there.
        over: their mean ROUGE-L with their own references minus that.
        low: low end of its interval, over tasks.
        high: high end.
        above: whether the interval is above 0 and there are enough tasks.
    """

    mean: float
    over: float
    low: float
    high: float
    above: bool


class SetScores(Means, frozen=True, kw_only=True):
    """One arm's scores on one set of tasks.

    Attributes:
        written_by: `person`, `program`, `model` (the generator), or `unknown`.
        rouge_l_interval: interval of `rouge_l`, over tasks.
        rouge_l_equal_interval: interval of `rouge_l_equal`, over tasks.
        exact_match_interval: interval of `exact_match`, over tasks.
        loss: loss of the reference answers; only for the generator's sets and zero-shot arms.
        perplexity: exp(loss).
        chance: its chance level, without the tasks that it was trained on.
        per_category: means by category of tasks.
    """

    written_by: str | UnsetType = UNSET
    rouge_l_interval: Interval | None = None
    rouge_l_equal_interval: Interval | UnsetType | None = UNSET
    exact_match_interval: Interval | None = None
    loss: float | UnsetType | None = UNSET
    perplexity: float | UnsetType | None = UNSET
    chance: ChanceLevel | UnsetType = UNSET
    per_category: dict[str, Means] = {}


class Gap(Struct, frozen=True, kw_only=True):
    """The mean score on seen tasks minus that on unseen tasks, with a two-sided interval.

    The bootstrap resamples both sets.
    """

    seen: float
    unseen: float
    difference: float
    low: float
    high: float
    seen_tasks: int
    unseen_tasks: int


class LossGap(Struct, frozen=True, kw_only=True):
    """The loss on seen tasks minus that on unseen tasks."""

    seen: float
    unseen: float
    difference: float


class Gaps(Struct, frozen=True, kw_only=True):
    """Differences between seen and unseen tasks: in ROUGE-L, in loss, and in the gain of ROUGE-L over the base."""

    rouge_l: Gap
    loss: LossGap | UnsetType = UNSET
    rouge_l_over_base: Gap | UnsetType = UNSET


class Agreement(Struct, frozen=True, kw_only=True):
    """How much the answers to the same question agree with each other.

    Attributes:
        n: number of questions with two or more answers.
        n_tasks: number of their tasks.
        failed: number of requests that could not be made.
        rouge_l: mean ROUGE-L over pairs of answers.
        rouge_l_interval: interval of `rouge_l`.
        exact: percentage of pairs that are equal, ignoring case, outer whitespace and final punctuation.
        exact_interval: interval of `exact`.
    """

    n: int
    n_tasks: int
    failed: int
    rouge_l: float
    rouge_l_interval: Interval
    exact: float
    exact_interval: Interval


class InstructionScore(Struct, frozen=True, kw_only=True):
    """The percentage of answers that follow one kind of IFEval's constraints."""

    n: int
    strict: float
    loose: float


class ConstraintScores(Struct, frozen=True, kw_only=True):
    """Scores of IFEval: percentage of prompts and of instructions that are followed, with intervals over prompts.

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


class TypeScore(Struct, frozen=True, kw_only=True):
    """The percentage of answers that keep constraints of one type; `held_out`: no generated row carries the type."""

    n: int
    kept: float
    held_out: bool


class FollowedScores(Struct, frozen=True, kw_only=True):
    """Constraints of the project's own types: percentages, with intervals over requests.

    Attributes:
        n: number of prompts.
        n_constraints: number of their constraints.
        prompts: per cent of prompts all of whose constraints are kept.
        prompts_interval: its interval.
        constraints: per cent of constraints that are kept.
        constraints_interval: its interval.
        per_type: by type of constraint.
    """

    n: int
    n_constraints: int
    prompts: float
    prompts_interval: Interval
    constraints: float
    constraints_interval: Interval
    per_type: dict[str, TypeScore] = {}


class PlainTextScores(Struct, frozen=True, kw_only=True):
    """How well a model predicts plain text: perplexity per token, bits per byte of UTF-8.

    `failed` counts the chunks that could not be measured. `tokens` and `bytes` are the sizes of the other `chunks`.
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
    """All measurements of one arm. An arm is a model and a way to prompt it.

    `gap` is that of the run's own tasks, `mixture_gap` that of the datasets which were mixed in.
    """

    model: str = ""
    prompting: str = ""
    sets: dict[str, SetScores] = {}
    gap: Gaps | UnsetType = UNSET
    mixture_gap: Gaps | UnsetType = UNSET
    consistency: dict[str, Agreement] | UnsetType = UNSET
    ifeval: ConstraintScores | UnsetType = UNSET
    constraints: FollowedScores | UnsetType = UNSET
    plain_text: PlainTextScores | UnsetType = UNSET
    lm_eval: dict[str, dict[str, TaskMetric]] | UnsetType = UNSET


class Forgetting(Struct, frozen=True, kw_only=True):
    """Bits per byte of plain text of arm `a` minus those of arm `b`. More than 0: `a` has forgotten."""

    a: str
    b: str
    difference: float
    low: float
    high: float
    chunks: int
    significant: bool


class JudgedPair(Struct, frozen=True, kw_only=True):
    """The judge's comparison of arm `a` with arm `b` on one set.

    Attributes:
        n: number of pairs of answers.
        n_tasks: number of tasks of the pairs that did not fail.
        wins: number of pairs in which both judgements choose the answer of `a`.
        ties: number of pairs in which the judgements differ, or in which they are ties.
        losses: number of pairs in which both judgements choose the answer of `b`.
        failed: number of pairs with a judgement that gives no choice.
        win_rate: in [0, 1]; a tie counts as half a win, and failed pairs are left out.
        low: low end of its interval.
        high: high end of its interval.
        significant: whether the interval excludes 1/2 and there are enough tasks.
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
    """How much the order of the answers influences the judge.

    Attributes:
        judgements: number of judgements that give a choice.
        first: share of judgements that choose the answer shown first.
        second: share of judgements that choose the answer shown second.
        tie: share of judgements that are ties.
        turned: share of pairs whose two judgements contradict each other.
    """

    judgements: int
    first: float | None
    second: float | None
    tie: float | None
    turned: float | None


class JudgeScores(Struct, frozen=True, kw_only=True):
    """The judge's pairs, and how reliable the judge is."""

    pairs: list[JudgedPair]
    position: PositionBias


class Scores(Struct, frozen=True, kw_only=True):
    """The content of `scores.json`.

    `leaks` holds, by arm and by set, the ids of the tasks that the arm was trained on. Comparisons leave them out.
    `constraints` compares the tuned arm with the others: prompts that are followed, and constraints that are kept.
    """

    version: int = 0
    arms: dict[str, ArmScores]
    comparisons: list[Comparison] = []
    headline: str = ""
    verdict: str = ""
    leaks: dict[str, dict[str, list[str]]] | UnsetType = UNSET
    settings: dict[str, Any] = {}
    forgetting: list[Forgetting] | UnsetType = UNSET
    constraints: list[Comparison] | UnsetType = UNSET
    judge: JudgeScores | UnsetType = UNSET

    def sets(self) -> list[str]:
        """Return the names of all sets of tasks, each once, in the order of the arms."""
        return list(dict.fromkeys(name for arm in self.arms.values() for name in arm.sets))


def read_scores(path: Path) -> Scores:
    """Read a `scores.json` of this version or an earlier one.

    Raises:
        InputError: the file cannot be read, or does not hold scores.
    """
    return read_stored(path, Scores, remedy="run `selfinstruct evaluate` again", upgrade=_renamed)


def _renamed(value: Any) -> Any:
    """Return decoded scores with the key names of this version."""
    if not isinstance(value, dict) or value.get("version") == SCORES_VERSION:
        return value
    judge = value.get("judge")
    for rows in (value.get("comparisons"), value.get("forgetting"), isinstance(judge, dict) and judge.get("pairs")):
        for row in rows if isinstance(rows, list) else ():
            if isinstance(row, dict) and "shown" in row:
                row["significant"] = row.pop("shown")
    return value
