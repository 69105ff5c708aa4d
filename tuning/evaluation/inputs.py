"""Check the other files that an evaluation reads, besides models and the dataset, before a run begins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from selfinstruct import packaged
from selfinstruct.config.later_stages import Evaluate
from selfinstruct.engines.openai_endpoint import Endpoint
from selfinstruct.formats import jsonl
from selfinstruct.signals import until_signal
from tuning.evaluation import constraints, forgetting, ifeval, lm_eval_tasks
from tuning.evaluation.questions import task_questions


def checks(options: Evaluate) -> Iterator[Callable[[], Any]]:
    """Yield a check of each input: it raises the error that the evaluation would raise hours later."""
    yield partial(task_questions, options)
    for name in options.plain_text:
        yield partial(forgetting.read, Path(name))
    if options.ifeval is not None:
        yield partial(ifeval.read, packaged.resolve(options.ifeval))
    if options.constraints is not None:
        yield partial(constraints.read, options.constraints)
    if options.lm_eval:
        yield partial(lm_eval_tasks.check, options)
    if options.judge_endpoint is not None:
        yield partial(_reach_judge, options.judge_endpoint, options.judge)


def _reach_judge(url: str, model: str | None) -> None:
    """Check that the judge's endpoint is there: the evaluation asks it last, when nobody may be awake to start it."""
    asyncio.run(until_signal(Endpoint.reach(url, model)))


def most_tokens(options: Evaluate) -> int:
    """Return the most completion tokens of an arm's answers; the run's held-out tasks are few and not counted.

    Raises:
        InputError: a file is missing or broken.
    """
    questions = task_questions(options)
    answers = len(questions)
    if options.consistency:
        variants = 1 + options.num_paraphrases + options.num_samples
        answers += variants * sum(not question.message for question in questions)
    most = answers * options.max_tokens
    for name, limit in (
        (options.ifeval, options.ifeval_max_tokens),
        (options.constraints, options.constraints_max_tokens),
    ):
        most += limit * sum(1 for _ in jsonl.read(packaged.resolve(name))) if name is not None else 0
    return most
