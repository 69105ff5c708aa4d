"""Consistency: how far answers agree that should be alike, to paraphrases of a question and in repeated samples.

    paraphrase   the instruction in other words (the task file's `paraphrases`, then the templates here), answered
                 greedily; compared with each other and with the answer to the original instruction
    sample       the original instruction, answered several times at a temperature

Agreement is the mean over all pairs of a question's answers, in ROUGE-L F x 100, and in the share of pairs that are the
same but for case, outer whitespace and final punctuation. It says nothing about correctness: a model that always gives
one answer agrees with itself. Questions in a benchmark's own prompt are left out: their wording is part of the
benchmark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from statistics import fmean
from typing import Literal

from msgspec.structs import asdict

from selfinstruct.run.scores import Agreement
from tuning.evaluation import metrics
from tuning.evaluation.answer_cache import Made, RowFile
from tuning.evaluation.answers import Answer, Arm, EvaluationEngine, answer
from tuning.evaluation.bootstrap import Resampling, Score, mean_interval
from tuning.evaluation.evaluation_plan import EvaluationPlan
from tuning.evaluation.measurement import Measurement
from tuning.evaluation.questions import GENERATED_SETS, Question

TEMPLATES = (
    "Please do the following. {instruction}",
    "{instruction}\nGive your answer below.",
    "Here is a task for you: {instruction}",
    "I need your help with this. {instruction}",
)
"""Wordings that change nothing about what is asked."""

_COMPARED = {"paraphrase": ("asked", "paraphrase"), "sample": ("sample",)}
"""The kinds of answers that each kind of agreement compares."""


class Variant(Answer, frozen=True, kw_only=True):
    """An answer to a variant of a question.

    Attributes:
        of: the question's id.
        kind: `asked` (the original instruction, answered greedily), `paraphrase` or `sample`.
        temperature: of the sampling; 0 is greedy.
    """

    of: str
    kind: Literal["asked", "paraphrase", "sample"]
    temperature: float = 0.0


VARIANTS = RowFile("consistency", Variant)


def measurement(plan: EvaluationPlan, questions: Sequence[Question]) -> Measurement[Variant]:
    """Return how the answers to variants of the questions are made."""
    options = plan.options
    chosen = [q for q in questions if q.set not in GENERATED_SETS and not q.message]
    plain = [variant(question, "asked", 0) for question in chosen]
    reworded = [
        variant(question, "paraphrase", k, text)
        for question in chosen
        for k, text in enumerate(paraphrases(question, options.num_paraphrases), 1)
    ]
    sampled = [variant(q, "sample", k) for q in chosen for k in range(1, options.num_samples + 1)]

    asked = [*plain, *reworded, *sampled]
    temperature = options.sample_temperature

    async def make(engine: EvaluationEngine, arm: Arm, numbers: Sequence[int], made: Made[Variant]) -> None:
        first_sampled = len(plain) + len(reworded)
        greedy = [k for k in numbers if k < first_sampled]
        drawn = [k for k in numbers if k >= first_sampled]
        for chosen, heat, label in ((greedy, 0.0, "answers to paraphrases"), (drawn, temperature, "sampled answers")):

            def labelled(k: int, row: Answer, chosen: list[int] = chosen, heat: float = heat) -> None:
                made(chosen[k], _labelled(row, heat))

            questions = [asked[k] for k in chosen]
            await answer(engine, arm, questions, plan, temperature=heat, label=label, made=labelled)

    contents = [[q.set, q.id, q.instruction, q.input, temperature] for q in asked]
    return Measurement(VARIANTS, contents, make)


def paraphrases(question: Question, most: int) -> list[str]:
    """Return up to `most` paraphrases of a question's instruction."""
    by_template = (template.format(instruction=question.instruction) for template in TEMPLATES)
    return [*question.paraphrases, *by_template][:most]


def variant(question: Question, kind: str, number: int, instruction: str | None = None) -> Question:
    """Return a question as it is asked here.

    Args:
        question: the original question.
        kind: see `Variant`.
        number: makes the new id unique: `<id>/<kind>/<number>`.
        instruction: the new wording; None: the original one.
    """
    text = question.instruction if instruction is None else instruction
    return replace(question, id=f"{question.id}/{kind}/{number}", instruction=text)


def _labelled(row: Answer, temperature: float) -> Variant:
    of, kind, _ = row.id.rsplit("/", 2)
    return Variant(**asdict(row), of=of, kind=kind, temperature=temperature)  # type: ignore[arg-type]


def score(rows: Sequence[Variant], resampling: Resampling) -> dict[str, Agreement]:
    """Return the agreement of each kind, `paraphrase` and `sample`; a kind without a pair is left out."""
    by_kind = {
        kind: _agreement([row for row in rows if row.kind in compared], resampling)
        for kind, compared in _COMPARED.items()
    }
    return {kind: agreement for kind, agreement in by_kind.items() if agreement is not None}


def _agreement(rows: Sequence[Variant], resampling: Resampling) -> Agreement | None:
    by_question: dict[tuple[str, str], list[Variant]] = {}
    for row in rows:
        by_question.setdefault((row.set, row.of), []).append(row)
    rouge: dict[str, Score] = {}
    exact: dict[str, Score] = {}
    for (name, of), answers in by_question.items():
        pairs = list(combinations([row.response for row in answers if row.finish_reason != "failed"], 2))
        if pairs:
            task = f"{name}/{answers[0].task}"
            rouge[f"{name}/{of}"] = Score(task, fmean(alike(a, b) for a, b in pairs))
            exact[f"{name}/{of}"] = Score(task, 100 * fmean(same(a, b) for a, b in pairs))
    if not rouge:
        return None
    return Agreement(
        n=len(rouge),
        n_tasks=len({score.task for score in rouge.values()}),
        failed=sum(row.finish_reason == "failed" for row in rows),
        rouge_l=round(fmean(score.value for score in rouge.values()), 6),
        rouge_l_interval=mean_interval(rouge, resampling),
        exact=round(fmean(score.value for score in exact.values()), 6),
        exact_interval=mean_interval(exact, resampling),
    )


def same(a: str, b: str) -> bool:
    """Return whether two answers are the same but for case, outer whitespace and final punctuation."""
    return metrics.normalise(a) == metrics.normalise(b)


def alike(a: str, b: str) -> float:
    """Return ROUGE-L F x 100 of two answers; 100 for the same ones, also where there is no word to count."""
    return 100.0 if same(a, b) else metrics.rouge_l([a], b)
