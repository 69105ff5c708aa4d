"""IFEval (Zhou et al. 2023, arXiv 2311.07911): constraints that a program can check, by lm-eval's own checks.

A line of such a file:

    {"key": 7, "prompt": "Describe a harbour in at least 40 words, all in lower case.",
     "instruction_id_list": ["length_constraints:number_words", "change_case:english_lowercase"],
     "kwargs": [{"relation": "at least", "num_words": 40}, {}]}

`strict` checks the answer as it is; `loose` also accepts it without its first or last line or its asterisks. A prompt
is followed when all its instructions are. The checks run in a process of their own (`ifeval_checks.py`): once on the
lines of the file before any model answers, and once on the answers of all arms.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import asdict, replace
from pydantic import BaseModel, ConfigDict, StrictInt, StrictStr, ValidationError

from selfinstruct.errors import ConfigError, InputError, SelfInstructError
from selfinstruct.formats import jsonl
from selfinstruct.formats.problems import MOST_PROBLEMS, readable, unfit
from selfinstruct.run.scores import ConstraintScores, InstructionScore, Interval
from selfinstruct.text import capped
from tuning.evaluation.answer_cache import AnswerCache, Made, RowFile
from tuning.evaluation.answers import Answer, Arm, EvaluationEngine, answer
from tuning.evaluation.bootstrap import Resampling, Score, mean_interval
from tuning.evaluation.evaluation_plan import EvaluationPlan
from tuning.evaluation.ifeval_checks import NOT_INSTALLED
from tuning.evaluation.measurement import Measurement
from tuning.evaluation.questions import Question


class ConstrainedAnswer(Answer, frozen=True, kw_only=True):
    """An answer to a prompt with constraints.

    Attributes:
        instructions: names of the constraints.
        strict: for each, whether the answer keeps it; empty until the answer is checked.
        loose: the same, loosely.
        sentences_by: `punkt_tab`, or `untrained Punkt` where that is not installed.
    """

    instructions: list[str]
    strict: tuple[bool, ...] = ()
    loose: tuple[bool, ...] = ()
    sentences_by: str = ""


CONSTRAINED = RowFile("ifeval", ConstrainedAnswer)


class Line(BaseModel):  # type: ignore[no-redef]
    """A line of a file."""

    model_config = ConfigDict(extra="ignore")
    key: StrictInt | StrictStr
    prompt: StrictStr
    instruction_id_list: list[StrictStr]
    kwargs: list[dict[str, Any] | None]


class Checked(Struct, frozen=True, kw_only=True):
    """The result of one check, see `ifeval_checks.py`."""

    strict: tuple[bool, ...] = ()
    loose: tuple[bool, ...] = ()
    sentences_by: str = ""
    error: str = ""


def measurement(plan: EvaluationPlan, lines: Mapping[str, Line]) -> Measurement[ConstrainedAnswer]:
    """Return how the prompts are answered; `check_answers` completes the rows."""
    questions = [
        Question(
            id=key,
            task=key,
            set=CONSTRAINED.name,
            category="",
            is_classification=False,
            instruction=line.prompt,
            input="",
            references=(),
        )
        for key, line in lines.items()
    ]

    async def make(engine: EvaluationEngine, arm: Arm, numbers: Sequence[int], made: Made[ConstrainedAnswer]) -> None:
        def answered(k: int, row: Answer) -> None:
            made(numbers[k], ConstrainedAnswer(**asdict(row), instructions=lines[row.id].instruction_id_list))

        chosen, label = [questions[k] for k in numbers], "answers under constraints"
        await answer(engine, arm, chosen, plan, limit="ifeval_max_tokens", label=label, made=answered)

    contents = [[plan.options.ifeval_max_tokens, line.model_dump()] for line in lines.values()]
    return Measurement(CONSTRAINED, contents, make)


def read(path: Path) -> dict[str, Line]:
    """Return the lines of a file by key.

    Raises:
        ConfigError: lm-eval is not installed.
        InputError: a line cannot be used; names the first twenty, and counts the others.
    """
    lines: dict[str, Line] = {}
    numbers: dict[str, int] = {}
    problems: list[tuple[int, str]] = []
    for number, row in jsonl.read(path):
        faults = _faults(row)
        if not faults and str(row["key"]) in lines:
            faults = [f"`key`: {row['key']!r} is there twice"]
        problems += [(number, fault) for fault in faults]
        if not faults:
            lines[str(row["key"])] = Line.model_validate(row)
            numbers[str(row["key"])] = number
    for key, result in zip(lines, run_checks([(line, "anything") for line in lines.values()]), strict=True):
        if result.error:
            problems.append((numbers[key], result.error))
    if problems:
        said = capped([f"  {path}, line {number}: {fault}" for number, fault in sorted(problems)], MOST_PROBLEMS)
        raise InputError(f"{len(problems)} problem(s) in a file of IFEval's format:\n" + "\n".join(said))
    if not lines:
        raise InputError(f"{path}: holds no prompts")
    return lines


def _faults(row: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the form of a line."""
    try:
        line = Line.model_validate(row)
    except ValidationError as error:
        return [f"`{'.'.join(map(str, e['loc']))}`: {readable(e)}" for e in error.errors()]
    faults = [f"`prompt`: {problem}" for problem in unfit(line.prompt)]
    if not line.instruction_id_list or len(line.instruction_id_list) != len(line.kwargs):
        faults.append("`kwargs` must have one entry for each of `instruction_id_list`, and at least one")
    return faults


def run_checks(responses: Sequence[tuple[Line, str]]) -> list[Checked]:
    """Check responses to lines in a process that imports lm-eval.

    Raises:
        ConfigError: lm-eval is not installed.
        SelfInstructError: the process failed.
    """
    if not responses:
        return []
    asked = "".join(json.dumps({**line.model_dump(), "response": text}) + "\n" for line, text in responses)
    done = subprocess.run(
        [sys.executable, "-m", "tuning.evaluation.ifeval_checks"],
        input=asked,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    last = (done.stderr.strip().splitlines() or [""])[-1]
    if done.returncode == NOT_INSTALLED:
        raise ConfigError(
            f"IFEval's checks cannot be imported: {last}; install them: pip install '.[lm-eval]' in a clone"
        )
    if done.returncode:
        raise SelfInstructError(f"IFEval's checks ended with exit code {done.returncode}: {last}")
    return [msgspec.json.decode(line, type=Checked) for line in done.stdout.splitlines()]


def check_answers(
    cache: AnswerCache, by_arm: Mapping[str, Mapping[str, ConstrainedAnswer]], lines: Mapping[str, Line]
) -> dict[str, list[ConstrainedAnswer]]:
    """Return the answers of all arms, checked; keep the checks that were not made yet.

    Args:
        cache: where the rows are kept.
        by_arm: the rows of each arm by their keys.
        lines: the lines of the file by key.

    Raises:
        SelfInstructError: the checks failed; the answers are kept.
    """
    unchecked = {arm: {key: row for key, row in rows.items() if not row.strict} for arm, rows in by_arm.items()}
    results = iter(run_checks([(lines[row.id], row.response) for rows in unchecked.values() for row in rows.values()]))
    checked = {arm: {key: _checked(row, next(results)) for key, row in rows.items()} for arm, rows in unchecked.items()}
    for arm, rows in checked.items():
        if rows:
            cache.keep(CONSTRAINED, arm, rows)
    return {arm: list({**rows, **checked[arm]}.values()) for arm, rows in by_arm.items()}


def checked_response(line: Line, response: str, result: Checked) -> ConstrainedAnswer:
    """Return a response that no arm gave as a row, with the result of its checks.

    Args:
        line: the prompt with its constraints.
        response: the text.
        result: of the checks.
    """
    row = ConstrainedAnswer(
        id=str(line.key),
        task=str(line.key),
        set=CONSTRAINED.name,
        instruction=line.prompt,
        response=response,
        instructions=line.instruction_id_list,
    )
    return _checked(row, result)


def _checked(row: ConstrainedAnswer, result: Checked) -> ConstrainedAnswer:
    if result.error:
        raise SelfInstructError(f"IFEval's checks cannot check the answer to prompt {row.id}: {result.error}")
    return replace(row, strict=result.strict, loose=result.loose, sentences_by=result.sentences_by)


def score(rows: Sequence[ConstrainedAnswer], resampling: Resampling) -> ConstraintScores:
    """Return the percentages of prompts and of instructions that are followed, with intervals over prompts."""
    means: dict[str, float | Interval | None] = {}
    for level in ("strict", "loose"):
        kept = {row.id: row.strict if level == "strict" else row.loose for row in rows}
        prompts = {row.id: Score(row.task, 100.0 * all(kept[row.id])) for row in rows}
        instructions = {
            f"{row.id}/{k}": Score(row.task, 100.0 * follows) for row in rows for k, follows in enumerate(kept[row.id])
        }
        for name, scores in (("prompt", prompts), ("instruction", instructions)):
            means[f"{name}_{level}"] = round(fmean(s.value for s in scores.values()), 6) if scores else None
            means[f"{name}_{level}_interval"] = mean_interval(scores, resampling) if scores else None
    return ConstraintScores(
        n=len(rows),
        n_instructions=sum(len(row.instructions) for row in rows),
        sentences_by=rows[0].sentences_by if rows else None,
        per_instruction=_per_instruction(rows),
        **means,  # type: ignore[arg-type]
    )


def _per_instruction(rows: Sequence[ConstrainedAnswer]) -> dict[str, InstructionScore]:
    kinds: dict[str, list[tuple[bool, bool]]] = {}
    for row in rows:
        for name, strict, loose in zip(row.instructions, row.strict, row.loose, strict=True):
            kinds.setdefault(name, []).append((strict, loose))
    return {
        name: InstructionScore(
            n=len(kept),
            strict=round(100 * fmean(strict for strict, _ in kept), 6),
            loose=round(100 * fmean(loose for _, loose in kept), 6),
        )
        for name, kept in sorted(kinds.items())
    }
