"""Plain tables of what `scores.json` holds beside ROUGE-L and exact match; a table nobody asked for is left out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from selfinstruct.text import number, percent

Scores = Mapping[str, Any]
Name = Callable[[str], str]


@dataclass(frozen=True)
class Table:
    """A table of texts: the first column names the row, the others hold numbers."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str


def tables(scores: Scores, label: Name) -> list[Table]:
    """Those for which there are numbers, in the order of the page.

    Args:
        scores: what `scores.json` holds; anything missing or of another form is left out.
        label: how an arm is called.
    """
    arms = {name: about for name, about in _dict(scores, "arms").items() if isinstance(about, dict)}
    made = (
        _format_errors(arms, label),
        _gap(arms, label),
        _judge(_dict(scores, "judge"), label),
        _consistency(arms, label),
        _forgetting(arms, scores.get("forgetting"), label),
        _ifeval(arms, label),
        _lm_eval(arms, label),
    )
    return [table for table in made if table.rows]


def _format_errors(arms: Scores, label: Name) -> Table:
    names = ("empty", "no_eos", "repeats", "truncated")
    rows = [
        [f"{label(arm)}, {set_name}", *(percent(found.get(name), digits=1) for name in names)]
        for arm, about in arms.items()
        for set_name, found in _dict(about, "sets").items()
        if any(name in found for name in names[1:])
    ]
    return Table(
        "Format errors",
        ["", "empty", "no end token", "repeats itself", "breaks off"],
        rows,
        "Shares of answers. No end token: the answer went on until its tokens were used up. Breaks off: cut while it "
        "was not repeating itself, or ended at a colon, a comma or inside a code block. One answer can have several.",
    )


def _gap(arms: Scores, label: Name) -> Table:
    rows = []
    for arm, about in arms.items():
        found = _dict(about, "gap")
        for name, what in (("rouge_l", "ROUGE-L"), ("rouge_l_over_base", "ROUGE-L gained over the base")):
            gap = _dict(found, name)
            if gap:
                sides = [number(gap.get("seen"), 1), number(gap.get("unseen"), 1)]
                rows.append([f"{label(arm)}: {what}", *sides, _interval(gap, "difference", "low", "high", sign=True)])
        loss = _dict(found, "loss")
        if loss:
            values = [number(loss.get(name), 3) for name in ("seen", "unseen", "difference")]
            rows.append([f"{label(arm)}: loss", *values])
    return Table(
        "Seen and unseen tasks",
        ["", "seen", "unseen", "difference"],
        rows,
        "Seen: further instances of tasks that the training split holds. Unseen: tasks held out as a whole. Both were "
        "written by the generator, and the base, which was trained on neither, shows how far they differ by "
        "themselves. What is gained on seen tasks alone was fitted; what is gained on both is the following of "
        "instructions.",
    )


def _judge(judge: Scores, label: Name) -> Table:
    rows = []
    for pair in judge.get("pairs") or []:
        outcomes = [number(pair.get(name)) for name in ("wins", "ties", "losses", "failed")]
        rate = _interval(pair, "win_rate", "low", "high", factor=100)
        shown = "" if pair.get("shown") else "not shown"
        name = f"{label(str(pair.get('a')))} against {label(str(pair.get('b')))}, {pair.get('set')}"
        rows.append([name, *outcomes, rate, shown])
    place = _dict(judge, "position")
    note = (
        "Each pair was judged in both orders; it is won where both judgements name the same answer, and a tie where "
        "they do not agree. Failed: a judgement without a verdict. A tie counts as half a win."
    )
    if place.get("judgements"):
        note += (
            f" The judge chose the answer shown first in {percent(place.get('first'))} of its judgements and the "
            f"second in {percent(place.get('second'))}; in {percent(place.get('turned'))} of the pairs its choice "
            "turned with their order."
        )
    return Table("Judged in pairs", ["", "wins", "ties", "losses", "failed", "win rate, %", ""], rows, note)


def _consistency(arms: Scores, label: Name) -> Table:
    kinds = {"paraphrase": "asked in other words", "sample": "sampled again"}
    rows = []
    for arm, about in arms.items():
        for kind, what in kinds.items():
            found = _dict(_dict(about, "consistency"), kind)
            if found:
                values = [_with_bounds(found, name) for name in ("rouge_l", "exact")]
                rows.append([f"{label(arm)}, {what}", *values, number(found.get("n_tasks"))])
    return Table(
        "Consistency",
        ["", "ROUGE-L", "the same", "tasks"],
        rows,
        "Agreement of a model's answers with each other, in points of 100: the mean over all pairs of answers to a "
        "question. It says nothing about their being right.",
    )


def _forgetting(arms: Scores, compared: Any, label: Name) -> Table:
    rows = []
    differences = {str(c.get("b")): c for c in compared or [] if isinstance(c, dict)}
    for arm, about in arms.items():
        found = _dict(about, "plain_text")
        if found:
            against = differences.get(arm)
            rows.append(
                [
                    label(arm),
                    number(found.get("perplexity"), 2),
                    number(found.get("bits_per_byte"), 4),
                    _interval(against, "difference", "low", "high", digits=4, sign=True) if against else "",
                    number(found.get("chunks")),
                ]
            )
    return Table(
        "Plain text",
        ["", "perplexity", "bits per byte", "tuned minus this", "chunks"],
        rows,
        "How surprised each model is by text that is no instruction. More after tuning is forgetting. Perplexity is "
        "per token and only comparable between models with the same tokenizer; bits per byte always are.",
    )


def _ifeval(arms: Scores, label: Name) -> Table:
    names = ("prompt_strict", "prompt_loose", "instruction_strict", "instruction_loose")
    rows, rules = [], set()
    for arm, about in arms.items():
        found = _dict(about, "ifeval")
        if found:
            rows.append([label(arm), *(_with_bounds(found, name) for name in names), number(found.get("n"))])
            rules.add(str(found.get("sentences_by")))
    note = (
        "Constraints that a program checks (IFEval, by lm-eval's code), in per cent kept. A prompt counts when all are."
    )
    if "untrained Punkt" in rules:
        note += " NLTK's trained sentence tokenizer was not installed: sentences were told apart by its rules alone."
    columns = ["", "prompts, strict", "prompts, loose", "constraints, strict", "constraints, loose", "prompts"]
    return Table("Verifiable constraints", columns, rows, note)


def _lm_eval(arms: Scores, label: Name) -> Table:
    found = {arm: _dict(about, "lm_eval") for arm, about in arms.items() if about.get("lm_eval")}
    measured = dict.fromkeys((task, name) for tasks in found.values() for task in tasks for name in tasks[task])
    rows = []
    for task, name in measured:
        cells = []
        for tasks in found.values():
            value = _dict(_dict(tasks, task), name)
            error = value.get("stderr")
            cells.append(number(value.get("value"), 4) + (f" ± {number(error, 4)}" if _is_number(error) else ""))
        rows.append([f"{task}: {name}", *cells])
    note = "lm-eval's own scores and standard errors; its prompts, without a chat template."
    return Table("lm-eval", ["", *map(label, found)], rows, note)


def _with_bounds(found: Scores, name: str) -> str:
    bounds = found.get(f"{name}_interval") or [None, None]
    return _interval({"value": found.get(name), "low": bounds[0], "high": bounds[1]}, "value", "low", "high")


def _interval(
    found: Scores, value: str, low: str, high: str, *, digits: int = 1, factor: float = 1, sign: bool = False
) -> str:
    numbers = [found.get(name) for name in (value, low, high)]
    shown = [number(factor * n, digits, sign) for n in numbers if n is not None and _is_number(n)]
    return f"{shown[0]} ({shown[1]} to {shown[2]})" if len(shown) == 3 else shown[0] if shown else "–"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _dict(found: Any, name: str) -> dict[str, Any]:
    value = found.get(name) if isinstance(found, Mapping) else None
    return value if isinstance(value, dict) else {}
