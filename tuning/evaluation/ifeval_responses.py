"""Score existing responses to the prompts of an IFEval file. No model is asked.

A line of a file of responses, as published with IFEval:

    {"prompt": "Describe a harbour in at least 40 words, all in lower case.", "response": "the boats lie still ..."}

A response belongs to the prompt with the same text. Prompts without a response are not counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from selfinstruct.config.later_stages import Evaluate
from selfinstruct.errors import InputError
from selfinstruct.formats import jsonl
from selfinstruct.run.scores import ConstraintScores
from tuning.evaluation import ifeval
from tuning.evaluation.bootstrap import Resampling
from tuning.evaluation.metrics import field_of


@dataclass(frozen=True, slots=True)
class ResponseScores:
    """The scores of a file of responses.

    Attributes:
        scores: the scores of the prompts that have a response.
        unanswered: the number of prompts without a response.
    """

    scores: ConstraintScores
    unanswered: int


def score_responses(responses: Path, constraints: Path, field: str = "response", seed: int = 42) -> ResponseScores:
    """Score responses with the checks of an IFEval file.

    Intervals are computed as in an evaluation with the default options.

    Args:
        responses: a JSON Lines file; each line has `prompt` and a response.
        constraints: the IFEval file.
        field: the name of the field that holds the response, a string.
        seed: the seed of the intervals.

    Raises:
        ConfigError: lm-eval is not installed.
        InputError: a file cannot be used; the message names file, line and field.
    """
    lines = {line.prompt: line for line in ifeval.read(constraints).values()}
    by_prompt = _responses(responses, field)
    unknown = next(((number, prompt) for prompt, (number, _) in by_prompt.items() if prompt not in lines), None)
    if unknown is not None:
        number, prompt = unknown
        raise InputError(f"{responses}, line {number}: `prompt` is none of {constraints}: {prompt[:80]!r}")
    answered = [(lines[prompt], text) for prompt, (_, text) in by_prompt.items()]
    results = ifeval.run_checks(answered)
    rows = [ifeval.checked_response(*pair, result) for pair, result in zip(answered, results, strict=True)]
    return ResponseScores(ifeval.score(rows, Resampling.of(Evaluate(), seed)), len(lines) - len(rows))


def _responses(path: Path, field: str) -> dict[str, tuple[int, str]]:
    """Return the line number and the response of each prompt."""
    by_prompt: dict[str, tuple[int, str]] = {}
    for number, row in jsonl.read(path):
        where = f"{path}, line {number}"
        prompt, response = row.get("prompt"), field_of(row, field, where, "prediction")
        if not isinstance(prompt, str):
            raise InputError(f"{where}: `prompt` must be a string, got {repr(prompt)[:80]}")
        if not isinstance(response, str):
            raise InputError(f"{where}: `{field}` must be a string, got {repr(response)[:80]}")
        if prompt in by_prompt:
            raise InputError(f"{where}: `prompt` is that of line {by_prompt[prompt][0]}: {prompt[:80]!r}")
        by_prompt[prompt] = (number, response)
    if not by_prompt:
        raise InputError(f"{path}: holds no responses")
    return by_prompt
