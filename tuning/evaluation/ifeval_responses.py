"""Existing responses to the prompts of an IFEval file, scored by its checks; no model is asked.

A line of such a file, as published beside IFEval:

    {"prompt": "Describe a harbour in at least 40 words, all in lower case.", "response": "the boats lie still ..."}

A response belongs to the prompt with the same text. Prompts without a response are not counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from selfinstruct.config.schema import Evaluate
from selfinstruct.errors import InputError
from selfinstruct.formats import jsonl
from selfinstruct.run.scores import ConstraintScores
from tuning.evaluation import ifeval
from tuning.evaluation.bootstrap import Resampling
from tuning.evaluation.metrics import field_of


@dataclass(frozen=True, slots=True)
class ResponseScores:
    """The scores of a file of responses, and the number of prompts that it holds no response to."""

    scores: ConstraintScores
    unanswered: int


def score_responses(responses: Path, constraints: Path, field: str = "response", seed: int = 42) -> ResponseScores:
    """Score responses by the checks of an IFEval file.

    Args:
        responses: JSON Lines with `prompt` and the response.
        constraints: the IFEval file.
        field: the field of the response, a string.
        seed: of the intervals, which are those of an evaluation with the default options.

    Raises:
        ConfigError: lm-eval is not installed.
        InputError: a file cannot be used; names file, line and field.
    """
    lines = {line.prompt: line for line in ifeval.read(constraints).values()}
    given = _responses(responses, field)
    unknown = next(((number, prompt) for prompt, (number, _) in given.items() if prompt not in lines), None)
    if unknown is not None:
        number, prompt = unknown
        raise InputError(f"{responses}, line {number}: `prompt` is none of {constraints}: {prompt[:80]!r}")
    answered = [(lines[prompt], text) for prompt, (_, text) in given.items()]
    results = ifeval.run_checks(answered)
    rows = [ifeval.checked_response(*pair, result) for pair, result in zip(answered, results, strict=True)]
    return ResponseScores(ifeval.score(rows, Resampling.of(Evaluate(), seed)), len(lines) - len(rows))


def _responses(path: Path, field: str) -> dict[str, tuple[int, str]]:
    """Return the line number and the response of each prompt."""
    given: dict[str, tuple[int, str]] = {}
    for number, row in jsonl.read(path):
        where = f"{path}, line {number}"
        prompt, response = row.get("prompt"), field_of(row, field, where, "prediction")
        if not isinstance(prompt, str):
            raise InputError(f"{where}: `prompt` must be a string, got {repr(prompt)[:80]}")
        if not isinstance(response, str):
            raise InputError(f"{where}: `{field}` must be a string, got {repr(response)[:80]}")
        if prompt in given:
            raise InputError(f"{where}: `prompt` is that of line {given[prompt][0]}: {prompt[:80]!r}")
        given[prompt] = (number, response)
    if not given:
        raise InputError(f"{path}: holds no responses")
    return given
