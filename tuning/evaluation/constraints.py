"""Prompts with constraints of the project's own types (`selfinstruct/constraints/`): which of them answers keep.

A line of such a file; the packaged `constraint_prompts` has held-out types alone, which no generated row ever carries:

    {"id": "held-out-007", "request": "Why do people keep diaries?", "constraints":
     [{"type": "length/one_sentence", "parameters": {}, "text": "Answer in a single sentence."}]}

The constraints' sentences follow the request. A prompt is followed when all its constraints are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

import msgspec
from msgspec import Struct
from msgspec.structs import asdict

from selfinstruct import packaged
from selfinstruct.constraints import is_held_out, keeps
from selfinstruct.errors import InputError
from selfinstruct.formats import jsonl
from selfinstruct.formats.problems import MOST_PROBLEMS, unfit
from selfinstruct.records import Constraint, with_constraints
from selfinstruct.run.scores import Comparison, FollowedScores, TypeScore
from selfinstruct.text import capped
from tuning.evaluation.answer_cache import Made, RowFile
from tuning.evaluation.answers import Answer, Arm, EvaluationEngine, answer
from tuning.evaluation.bootstrap import Resampling, Score, compare, mean_interval
from tuning.evaluation.evaluation_plan import EvaluationPlan
from tuning.evaluation.measurement import Measurement
from tuning.evaluation.questions import Question


class CheckedAnswer(Answer, frozen=True, kw_only=True):
    """An answer to a prompt with constraints: their types, and whether it keeps each."""

    types: tuple[str, ...]
    kept: tuple[bool, ...]


CHECKED = RowFile("constraints", CheckedAnswer)


class Prompt(Struct, frozen=True):
    """A line of a file."""

    id: str
    request: str
    constraints: tuple[Constraint, ...]


def read(name: str) -> list[Prompt]:
    """Return the prompts of a file.

    Args:
        name: its path, or `constraint_prompts`, the packaged one.

    Raises:
        InputError: a line cannot be used; names the first twenty, and counts the others.
    """
    path = packaged.resolve(name)
    prompts: dict[str, Prompt] = {}
    problems: list[str] = []
    for number, row in jsonl.read(path):
        try:
            prompt = msgspec.convert(row, Prompt)
            faults = _faults(prompt, prompts)
        except msgspec.ValidationError as error:
            faults = [str(error)]
        problems += [f"  {path}, line {number}: {fault}" for fault in faults]
        if not faults:
            prompts[prompt.id] = prompt
    if problems:
        said = "\n".join(capped(problems, MOST_PROBLEMS))
        raise InputError(f"{len(problems)} problem(s) in a file of prompts with constraints:\n{said}")
    if not prompts:
        raise InputError(f"{path}: holds no prompts")
    return list(prompts.values())


def _faults(prompt: Prompt, others: Mapping[str, Prompt]) -> list[str]:
    """Return what is wrong with a prompt; its constraints are tried on an answer."""
    faults = [f"`request`: {problem}" for problem in unfit(prompt.request)]
    if prompt.id in others:
        faults.append(f"`id`: {prompt.id!r} is there twice")
    if not prompt.constraints:
        faults.append("`constraints`: there must be at least one")
    for constraint in prompt.constraints:
        try:
            keeps("anything", constraint)
        except InputError as error:
            faults.append(f"`constraints`: {error}")
    return faults


def measurement(plan: EvaluationPlan, prompts: Sequence[Prompt]) -> Measurement[CheckedAnswer]:
    """Return how the prompts are answered and checked."""
    questions = [
        Question(
            id=prompt.id,
            task=prompt.request,
            set=CHECKED.name,
            category="",
            is_classification=False,
            instruction=with_constraints(prompt.request, prompt.constraints),
            input="",
            references=(),
        )
        for prompt in prompts
    ]

    async def make(engine: EvaluationEngine, arm: Arm, numbers: Sequence[int], made: Made[CheckedAnswer]) -> None:
        def answered(k: int, row: Answer) -> None:
            made(numbers[k], checked(row, prompts[numbers[k]].constraints))

        chosen, label = [questions[k] for k in numbers], "answers to constraints"
        await answer(engine, arm, chosen, plan, limit="constraints_max_tokens", label=label, made=answered)

    contents = [[plan.options.constraints_max_tokens, msgspec.to_builtins(prompt)] for prompt in prompts]
    return Measurement(CHECKED, contents, make)


def checked(row: Answer, constraints: Sequence[Constraint]) -> CheckedAnswer:
    """Return an answer with the constraints that it keeps."""
    kept = tuple(keeps(row.response, constraint) for constraint in constraints)
    return CheckedAnswer(**asdict(row), types=tuple(constraint.type for constraint in constraints), kept=kept)


def score(rows: Sequence[CheckedAnswer], resampling: Resampling) -> FollowedScores:
    """Return the percentages of prompts that are followed and of constraints that are kept; requests are resampled."""
    prompts, constraints = _prompts(rows), _constraints(rows)
    by_type: dict[str, list[bool]] = {}
    for row in rows:
        for name, kept in zip(row.types, row.kept, strict=True):
            by_type.setdefault(name, []).append(kept)
    return FollowedScores(
        n=len(rows),
        n_constraints=len(constraints),
        prompts=round(fmean(score.value for score in prompts.values()), 6),
        prompts_interval=mean_interval(prompts, resampling),
        constraints=round(fmean(score.value for score in constraints.values()), 6),
        constraints_interval=mean_interval(constraints, resampling),
        per_type={
            name: TypeScore(n=len(kept), kept=round(100 * fmean(kept), 6), held_out=is_held_out(name))
            for name, kept in sorted(by_type.items())
        },
    )


def compared(by_arm: Mapping[str, Sequence[CheckedAnswer]], a: str, resampling: Resampling) -> list[Comparison]:
    """Return arm `a` minus every other arm, prompts first, over the prompts that both answered.

    Args:
        by_arm: the answers of each arm.
        a: the arm that the others are subtracted from.
        resampling: how the intervals are made.
    """
    made = [
        compare(CHECKED.name, metric, (a, of(by_arm[a])), (b, of(rows)), resampling)
        for metric, of in (("prompts", _prompts), ("constraints", _constraints))
        for b, rows in by_arm.items()
        if a in by_arm and b != a
    ]
    return [comparison for comparison in made if comparison is not None]


def _prompts(rows: Sequence[CheckedAnswer]) -> dict[str, Score]:
    return {row.id: Score(row.task, 100.0 * all(row.kept)) for row in rows}


def _constraints(rows: Sequence[CheckedAnswer]) -> dict[str, Score]:
    return {f"{row.id}/{k}": Score(row.task, 100.0 * kept) for row in rows for k, kept in enumerate(row.kept)}
