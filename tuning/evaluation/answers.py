"""Arms answer questions: a model and a way to prompt it, and the engine it runs on.

An answer is a row: the question (id, task, set, category, is_classification, instruction, input, references,
written_by, stemmer), prompt as sent, response, finish_reason, completion_tokens; for rows of the generator's own sets
also reference_logprob and reference_tokens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from selfinstruct.config.schema import Config, Sampling
from selfinstruct.console import AnswerProgress, console
from selfinstruct.engines.base import Engine, Request, RequestFailed
from selfinstruct.errors import ConfigError
from selfinstruct.generation import prompts
from selfinstruct.records import Prompt, SeedTask
from tuning.evaluation import questions
from tuning.evaluation.questions import GENERATED_SETS, Prompting, Question
from tuning.training import prompt_formats

ANSWERS_VERSION = 2
"""Raised whenever a prompt's text or what is made of an answer changes: saved answers are then asked anew."""

Row = dict[str, Any]


class EvaluationEngine(Engine, Protocol):
    """What evaluation asks of an engine beyond generating; `VLLMEngine` has it."""

    tokenizer: Any
    """A transformers tokenizer, to be read only."""

    chat_template: str | None
    """When set, used instead of the tokenizer's own."""

    end_token_id: int | None
    """When set, ends an answer besides the model's own end token."""

    def render(self, prompt: Prompt) -> str:
        """The prompt as text."""
        ...

    def encode(self, prompt: Prompt) -> list[int]:
        """Its token ids."""
        ...

    async def response_logprob(self, prompt_ids: list[int], response_ids: list[int]) -> float:
        """Log-probability of a response after a prompt, summed over its tokens."""
        ...


@dataclass(frozen=True, slots=True)
class Arm:
    """A model and a way to prompt it, under a name that is part of a file's."""

    name: str
    model: str
    prompting: Prompting = "zero_shot"
    revision: str | None = None


def prompt_format(config: Config) -> tuple[prompt_formats.PromptFormat, str | None]:
    """How the tuned model is prompted, and by whose template; a base model without one is asked in the same text."""
    given = config.tune.arguments
    return given.get("prompt_format", "auto"), given.get("chat_template_path")


async def answer(
    engine: EvaluationEngine,
    arm: Arm,
    asked: Sequence[Question],
    shown: Sequence[SeedTask],
    config: Config,
    temperature: float = 0.0,
    limit: str = "max_tokens",
    what: str = "answers",
) -> list[Row]:
    """An arm's answers, in the order of the questions; all are given to the engine at once.

    A question that cannot be asked (too long for the context) has an empty answer and the finish reason `failed`.

    Args:
        engine: of the arm's model.
        arm: the model and how it is prompted.
        asked: the questions.
        shown: the seeds that a few-shot prompt shows.
        config: the run's configuration.
        temperature: of the sampling; 0 is greedy.
        limit: the option of `evaluate` that limits the answers' tokens.
        what: the answers are called while they come.

    Raises:
        ConfigError: no question can be asked.
        EngineError: the engine died.
    """
    max_tokens: int = getattr(config.evaluate, limit)
    if engine.context_length <= max_tokens:
        raise ConfigError(
            f"`evaluate.{limit}`: {max_tokens} tokens of answer leave no room for a question in the context of "
            f"{arm.model!r}, {engine.context_length} tokens; lower it"
        )
    if arm.prompting == "zero_shot":
        _settle_template(engine, *prompt_format(config))
    sampling = Sampling(max_tokens=max_tokens, temperature=temperature)
    with AnswerProgress(arm.name, len(asked), what) as progress:

        async def one(question: Question) -> Row:
            row = await _answer_one(engine, arm, question, shown, sampling)
            progress.advance(row["completion_tokens"])
            return row

        rows = await together(one(question) for question in asked)
    if arm.prompting == "zero_shot":
        held_out = [k for k, question in enumerate(asked) if question.set in GENERATED_SETS]
        measured = await together(_reference_logprob(engine, asked[k]) for k in held_out)
        for k, found in zip(held_out, measured, strict=True):
            rows[k] |= found
    failed = [row for row in rows if row["finish_reason"] == "failed"]
    if failed:
        console.print(f"{arm.name}: {len(failed)} of {len(rows)} questions failed; the first: {failed[0]['failed']}")
    return rows


async def together(waiting: Iterable[Coroutine[Any, Any, Row]]) -> list[Row]:
    """The results of everything at once, in order. An engine that dies fails all of them alike: one error says it."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in waiting]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def _settle_template(engine: EvaluationEngine, prompt_format: prompt_formats.PromptFormat, path: str | None) -> None:
    """Let the engine have a chat template, and end its answers as that does."""
    tokenizer = engine.tokenizer
    if engine.has_chat_template and engine.chat_template is None:
        end = prompt_formats.ending(tokenizer) or tokenizer.eos_token
    elif engine.chat_template is None:
        end = prompt_formats.prepare(tokenizer, prompt_format, path=path).end_token
        engine.chat_template, engine.has_chat_template = tokenizer.chat_template, True
    else:
        return
    engine.end_token_id = tokenizer.convert_tokens_to_ids(end)


async def _answer_one(
    engine: EvaluationEngine, arm: Arm, question: Question, shown: Sequence[SeedTask], sampling: Sampling
) -> Row:
    row = {**question.row(), "prompt": "", "response": "", "finish_reason": "failed", "completion_tokens": 0}
    few_shot = arm.prompting == "few_shot"
    try:
        prompt = _few_shot(engine, question, shown, sampling.max_tokens) if few_shot else question.messages
        row["prompt"] = engine.render(prompt)
        key = f"{arm.name}/{question.set}/{question.id}"
        stop = (*prompts.ANSWER_STOP, *(questions.BENCHMARK_STOP if question.message else ())) if few_shot else ()
        completion = await engine.generate(Request(key, prompt, sampling, stop))
    except RequestFailed as failure:
        return row | {"failed": str(failure)}
    parse = prompts.parse_answer if few_shot else prompts.strip_thinking
    row["response"] = parse(completion.text)
    row["finish_reason"] = completion.finish_reason
    row["completion_tokens"] = completion.completion_tokens
    return row


def _few_shot(engine: Engine, question: Question, shown: Sequence[SeedTask], max_tokens: int) -> Prompt:
    """The question after as many examples as fit; a benchmark's own prompt brings its examples with it."""
    if question.message:
        return question.message.rstrip()
    limit = engine.context_length - max_tokens
    fitted = prompts.fit(
        lambda k: prompts.encode_answer(question.instruction, question.input, shown[:k]),
        len(shown),
        limit,
        engine.count_tokens,
    )
    if fitted is None:
        raise RequestFailed("prompt_too_long", f"{question.set}/{question.id}: more than {limit} tokens")
    return fitted[0]


async def _reference_logprob(engine: EvaluationEngine, question: Question) -> Row:
    """Log-probability and number of tokens of the reference answer, the token that ends it included.

    Nothing where they do not fit the context.
    """
    reference = question.references[0].strip()
    ids = [*engine.tokenizer(reference, add_special_tokens=False)["input_ids"], engine.end_token_id]
    try:
        logprob = await engine.response_logprob(engine.encode(question.messages), ids)
    except RequestFailed:
        return {}
    return {"reference_logprob": round(logprob, 6), "reference_tokens": len(ids)}
