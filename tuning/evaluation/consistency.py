"""Does a model answer alike when it is asked alike? Agreement between answers to paraphrases, and between samples.

    paraphrase   the instruction in other words (the task file's `paraphrases`, then the templates here), answered
                 greedily; compared with each other and with the answer to the instruction as it stands
    sample       the instruction as it stands, answered several times at a temperature

Agreement is the mean over all pairs of a question's answers of their ROUGE-L F x 100, and of whether they are the same
but for case, outer whitespace and final punctuation. It says nothing about being right: a model that always answers
the same agrees with itself. Questions in a benchmark's own prompt are left out: their wording is part of the benchmark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from statistics import fmean
from typing import Any

from selfinstruct.config.schema import Config
from selfinstruct.records import SeedTask
from tuning.evaluation import bootstrap as compare
from tuning.evaluation import metrics
from tuning.evaluation.answer_cache import Part
from tuning.evaluation.answers import Arm, EvaluationEngine, Row, answer
from tuning.evaluation.bootstrap import Score
from tuning.evaluation.questions import GENERATED_SETS, Question

PART = "consistency"

TEMPLATES = (
    "Please do the following. {instruction}",
    "{instruction}\nGive your answer below.",
    "Here is a task for you: {instruction}",
    "I need your help with this. {instruction}",
)
"""Wordings that change nothing about what is asked."""

KINDS = ("paraphrase", "sample")


def part(config: Config, asked: Sequence[Question], shown: Sequence[SeedTask]) -> Part:
    """What an arm is asked; its rows are answers with `kind`, `of` (the question's id) and `temperature`."""
    options = config.evaluate
    questions = [q for q in asked if q.set not in GENERATED_SETS and not q.message]
    plain = [variant(question, "asked", 0) for question in questions]
    reworded = [
        variant(question, "paraphrase", k, text)
        for question in questions
        for k, text in enumerate(paraphrases(question, options.num_paraphrases), 1)
    ]
    sampled = [variant(q, "sample", k) for q in questions for k in range(1, options.num_samples + 1)]

    async def make(engine: EvaluationEngine, arm: Arm) -> list[Row]:
        greedy = await answer(engine, arm, [*plain, *reworded], shown, config, what="answers to paraphrases")
        drawn = await answer(
            engine, arm, sampled, shown, config, temperature=options.sample_temperature, what="sampled answers"
        )
        return [_labelled(row, 0.0) for row in greedy] + [_labelled(row, options.sample_temperature) for row in drawn]

    content = [[q.set, q.id, q.instruction, q.input] for q in (*plain, *reworded, *sampled)]
    return Part(PART, [content, options.sample_temperature], make)


def paraphrases(question: Question, most: int) -> list[str]:
    """The question's instruction in other words."""
    by_template = (template.format(instruction=question.instruction) for template in TEMPLATES)
    return [*question.paraphrases, *by_template][:most]


def variant(question: Question, kind: str, number: int, instruction: str | None = None) -> Question:
    """The question as it is asked for this; its id says what it is a variant of."""
    text = question.instruction if instruction is None else instruction
    return replace(question, id=f"{question.id}/{kind}/{number}", instruction=text)


def _labelled(row: Row, temperature: float) -> Row:
    of, kind, _ = row["id"].rsplit("/", 2)
    return row | {"of": of, "kind": kind, "temperature": temperature}


def score(rows: Sequence[Row], **bootstrap: Any) -> dict[str, Any]:
    """Agreement by kind: `rouge_l` and `exact`, both in [0, 100], with intervals over tasks.

    Returns:
        {KIND: {"n" questions with two answers or more, "n_tasks", "failed" answers that there are not,
            "rouge_l", "rouge_l_interval", "exact", "exact_interval"}}; a kind without a pair is left out.
    """
    found = {kind: _agreement([row for row in rows if row["kind"] in _COMPARED[kind]], bootstrap) for kind in KINDS}
    return {kind: about for kind, about in found.items() if about}


_COMPARED = {"paraphrase": ("asked", "paraphrase"), "sample": ("sample",)}


def _agreement(rows: Sequence[Row], bootstrap: dict[str, Any]) -> dict[str, Any] | None:
    answers: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        answers.setdefault((row["set"], row["of"]), []).append(row)
    rouge: dict[str, Score] = {}
    exact: dict[str, Score] = {}
    for (name, of), given in answers.items():
        pairs = list(combinations([row["response"] for row in given if row["finish_reason"] != "failed"], 2))
        if pairs:
            task = f"{name}/{given[0]['task']}"
            rouge[f"{name}/{of}"] = Score(task, fmean(alike(a, b) for a, b in pairs))
            exact[f"{name}/{of}"] = Score(task, 100 * fmean(same(a, b) for a, b in pairs))
    if not rouge:
        return None
    about: dict[str, Any] = {
        "n": len(rouge),
        "n_tasks": len({score.task for score in rouge.values()}),
        "failed": sum(row["finish_reason"] == "failed" for row in rows),
    }
    for metric, scores in (("rouge_l", rouge), ("exact", exact)):
        about[metric] = round(fmean(score.value for score in scores.values()), 6)
        about[f"{metric}_interval"] = [round(bound, 6) for bound in compare.mean_interval(scores, **bootstrap)]
    return about


def same(a: str, b: str) -> bool:
    """Whether two answers are the same but for case, outer whitespace and final punctuation."""
    return metrics.normalise(a) == metrics.normalise(b)


def alike(a: str, b: str) -> float:
    """ROUGE-L F x 100 of two answers; the same ones are 100, also where there is no word to count."""
    return 100.0 if same(a, b) else metrics.rouge_l([a], b)
