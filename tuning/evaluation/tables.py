"""Plain tables of what `scores.json` holds beside ROUGE-L and exact match; a table without rows is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from msgspec import UnsetType

from selfinstruct.constraints import TRAINING, TYPES
from selfinstruct.run.scores import ArmScores, Gaps, Interval, JudgeScores, Scores
from selfinstruct.text import number, percent
from tuning.evaluation.metrics import FORMAT_ERRORS

Label = Callable[[str], str]
Arms = Mapping[str, ArmScores]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of texts: the first column names the row, the others hold numbers."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str


def tables(scores: Scores, label: Label) -> list[Table]:
    """Return the tables that have rows, in the order of the report.

    Args:
        scores: the scores of a run.
        label: returns how an arm is called.
    """
    made = (
        _format_errors(scores.arms, label),
        _gap(scores.arms, label),
        _mixture_gap(scores.arms, label),
        *([_judge(scores.judge, label)] if scores.judge else []),
        _consistency(scores.arms, label),
        _forgetting(scores, label),
        _constraints(scores, label),
        _ifeval(scores.arms, label),
        _lm_eval(scores.arms, label),
    )
    return [table for table in made if table.rows]


def _format_errors(arms: Arms, label: Label) -> Table:
    rows = [
        [f"{label(arm)}, {name}", *(percent(getattr(means, error), digits=1) for error in FORMAT_ERRORS)]
        for arm, about in arms.items()
        for name, means in about.sets.items()
        if isinstance(means.no_eos, float)  # Scores of the first version have `empty` alone.
    ]
    return Table(
        "Format errors",
        ["", "empty", "no end token", "repeats itself", "breaks off"],
        rows,
        "Share of answers. No end token: the answer went on until its token limit. Breaks off: it was cut while it was "
        "not repeating itself, or it ends at a colon, a comma or inside a code block. One answer can have several "
        "errors.",
    )


def _gap(arms: Arms, label: Label) -> Table:
    return Table(
        "Seen and unseen tasks",
        ["", "seen", "unseen", "difference"],
        _gap_rows([(label(arm), about.gap) for arm, about in arms.items()]),
        "Seen: further instances of tasks in the training split. Unseen: tasks held out as a whole. The generator "
        "wrote both. The base was trained on neither: its row shows how much the two sets differ by themselves. A gain "
        "on seen tasks alone means that the model was fitted to these tasks. A gain on both means that it follows "
        "instructions better.",
    )


def _mixture_gap(arms: Arms, label: Label) -> Table:
    return Table(
        "Seen and unseen tasks of the mixed datasets",
        ["", "seen", "unseen", "difference"],
        _gap_rows([(label(arm), about.mixture_gap) for arm, about in arms.items()]),
        "Seen: questions of tasks that were trained on, themselves kept out of training. Unseen: tasks, or categories "
        "of tasks, that were held out as a whole. The base's row shows how much the two sets differ by themselves.",
    )


def _gap_rows(gaps: Iterable[tuple[str, Gaps | UnsetType]]) -> list[list[str]]:
    rows = []
    for name, about in gaps:
        if not about:
            continue
        for gap, what in ((about.rouge_l, "ROUGE-L"), (about.rouge_l_over_base, "ROUGE-L gained over the base")):
            if gap:
                difference = _interval(gap.difference, (gap.low, gap.high), sign=True)
                rows.append([f"{name}: {what}", number(gap.seen, 1), number(gap.unseen, 1), difference])
        if loss := about.loss:
            values = (number(value, 3) for value in (loss.seen, loss.unseen, loss.difference))
            rows.append([f"{name}: loss", *values])
    return rows


def _judge(judge: JudgeScores, label: Label) -> Table:
    rows = [
        [
            f"{label(pair.a)} against {label(pair.b)}, {pair.set}",
            *(number(count) for count in (pair.wins, pair.ties, pair.losses, pair.failed)),
            _interval(_percent(pair.win_rate), _bounds(_percent(pair.low), _percent(pair.high))),
            "" if pair.significant else "not significant",
        ]
        for pair in judge.pairs
    ]
    note = (
        "Each pair was judged twice, in both orders. It is won where both judgements name the same answer, and a tie "
        "where they do not agree. Failed: a judgement without a verdict. A tie counts as half a win."
    )
    order = judge.position
    if order.judgements:
        note += (
            f" The judge chose the answer shown first in {percent(order.first)} of its judgements and the second in "
            f"{percent(order.second)}. In {percent(order.turned)} of the pairs its choice changed with the order."
        )
    return Table("Judged in pairs", ["", "wins", "ties", "losses", "failed", "win rate, %", ""], rows, note)


def _consistency(arms: Arms, label: Label) -> Table:
    kinds = {"paraphrase": "asked in other words", "sample": "sampled again"}
    rows = []
    for arm, about in arms.items():
        for kind, what in kinds.items():
            agreement = (about.consistency or {}).get(kind)
            if agreement:
                rouge_l = _interval(agreement.rouge_l, agreement.rouge_l_interval)
                exact = _interval(agreement.exact, agreement.exact_interval)
                rows.append([f"{label(arm)}, {what}", rouge_l, exact, number(agreement.n_tasks)])
    return Table(
        "Consistency",
        ["", "ROUGE-L", "the same", "tasks"],
        rows,
        "How far a model's answers agree with each other, from 0 to 100: the mean over all pairs of answers to a "
        "question. It does not say whether they are right.",
    )


def _forgetting(scores: Scores, label: Label) -> Table:
    differences = {difference.b: difference for difference in scores.forgetting or []}
    rows = []
    for arm, about in scores.arms.items():
        if text := about.plain_text:
            against = differences.get(arm)
            rows.append(
                [
                    label(arm),
                    number(text.perplexity, 2),
                    number(text.bits_per_byte, 4),
                    _interval(against.difference, (against.low, against.high), digits=4, sign=True) if against else "",
                    number(text.chunks),
                ]
            )
    return Table(
        "Plain text",
        ["", "perplexity", "bits per byte", "tuned minus this", "chunks"],
        rows,
        "How surprised each model is by text that is no instruction; an increase after tuning is forgetting. "
        "Perplexity is per token: compare it only between models with the same tokenizer. Bits per byte can always be "
        "compared.",
    )


def _constraints(scores: Scores, label: Label) -> Table:
    against = {(c.b, c.metric): c for c in scores.constraints or []}
    rows = []
    for arm, about in scores.arms.items():
        if followed := about.constraints:
            differences = [against.get((arm, metric)) for metric in ("prompts", "constraints")]
            rows.append(
                [
                    label(arm),
                    _interval(followed.prompts, followed.prompts_interval),
                    _interval(followed.constraints, followed.constraints_interval),
                    *(_interval(c.difference, (c.low, c.high), sign=True) if c else "" for c in differences),
                    number(followed.n),
                ]
            )
    per_type = [about.constraints.per_type for about in scores.arms.values() if about.constraints]
    types = {name: kept.held_out for of_arm in per_type for name, kept in of_arm.items()}
    return Table(
        "Constraints followed",
        ["", "prompts", "constraints", "tuned minus this: prompts", "tuned minus this: constraints", "prompts asked"],
        rows,
        f"Per cent that are kept, of {number(len(types))} types of constraint that a program checks, of which "
        f"{number(sum(types.values()))} are held out: no generated row carries them. A prompt counts when all its "
        "constraints are kept.",
    )


def _ifeval(arms: Arms, label: Label) -> Table:
    rows, rules = [], set()
    for arm, about in arms.items():
        if kept := about.ifeval:
            intervals = (
                _interval(kept.prompt_strict, kept.prompt_strict_interval),
                _interval(kept.prompt_loose, kept.prompt_loose_interval),
                _interval(kept.instruction_strict, kept.instruction_strict_interval),
                _interval(kept.instruction_loose, kept.instruction_loose_interval),
            )
            rows.append([label(arm), *intervals, number(kept.n)])
            rules.add(kept.sentences_by)
    note = (
        "Constraints that a program can check (IFEval, by lm-eval's code): per cent that are kept. A prompt counts "
        "when all its constraints are kept."
    )
    if "untrained Punkt" in rules:
        note += " NLTK's trained sentence tokenizer was not installed: sentences were split by its rules alone."
    kinds = {kind for about in arms.values() if about.ifeval for kind in about.ifeval.per_instruction}
    if alike := kinds.intersection(name for kind in TRAINING for name in TYPES[kind].ifeval):
        note += (
            f" {number(len(alike))} of the {number(len(kinds))} kinds ask for the same as a type of constraint that "
            "generated rows may carry."
        )
    columns = ["", "prompts, strict", "prompts, loose", "constraints, strict", "constraints, loose", "prompts"]
    return Table("Verifiable constraints", columns, rows, note)


def _lm_eval(arms: Arms, label: Label) -> Table:
    by_arm = {arm: about.lm_eval for arm, about in arms.items() if about.lm_eval}
    measured = dict.fromkeys((task, name) for tasks in by_arm.values() for task in tasks for name in tasks[task])
    rows = []
    for task, name in measured:
        cells = []
        for tasks in by_arm.values():
            metric = tasks.get(task, {}).get(name)
            error = "" if metric is None or metric.stderr is None else f" ± {number(metric.stderr, 4)}"
            cells.append(number(metric and metric.value, 4) + error)
        rows.append([f"{task}: {name}", *cells])
    note = "Scores and standard errors as lm-eval reports them; its prompts, without a chat template."
    return Table("lm-eval", ["", *map(label, by_arm)], rows, note)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _bounds(low: float | None, high: float | None) -> Interval | None:
    return None if low is None or high is None else (low, high)


def _interval(value: float | None, bounds: Interval | None, *, digits: int = 1, sign: bool = False) -> str:
    text = number(value, digits, sign)
    return f"{text} ({number(bounds[0], digits, sign)} to {number(bounds[1], digits, sign)})" if bounds else text
