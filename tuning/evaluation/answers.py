"""Answers: a model and a way to prompt it (an arm) answers questions on an engine."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from selfinstruct.config.section import Sampling
from selfinstruct.console import AnswerProgress, console
from selfinstruct.engines import chat_templates
from selfinstruct.engines.base import Engine, Request, RequestFailed
from selfinstruct.engines.control_tokens import ControlTokens
from selfinstruct.errors import ConfigError
from selfinstruct.generation import parsing, prompts
from selfinstruct.generation.examples import Examples, fit
from selfinstruct.records import FinishReason, Prompt, WrittenBy
from tuning.evaluation.answer_cache import Made, RowFile
from tuning.evaluation.evaluation_plan import EvaluationPlan
from tuning.evaluation.questions import BENCHMARK_STOP, GENERATED_SETS, Prompting, Question
from tuning.training import prompt_formats

ANSWERS_VERSION = 4
"""Raised whenever a prompt's text or the parsing of an answer changes: everything is then asked again."""

T = TypeVar("T")


class Answer(Struct, frozen=True, kw_only=True):
    """A question with an arm's answer to it.

    Attributes:
        id: of the question; unique within `set`.
        task: what is resampled as a whole.
        set: the set of tasks.
        category: of the task; empty where it has none.
        is_classification: whether exact match applies.
        instruction: the task.
        input: its input; may be empty.
        references: the accepted answers.
        written_by: author of the task; older files do not have it.
        stemmer: whether words are compared by their stems.
        prompt: as sent.
        response: the parsed answer.
        finish_reason: `failed` if the question could not be asked (too long for the context, for example).
        completion_tokens: tokens of the answer.
        failed: why the question could not be asked.
        reference_logprob: log-probability of the first reference, its end token included; the generator's sets alone.
        reference_tokens: its number of tokens.
    """

    id: str
    task: str
    set: str
    category: str = ""
    is_classification: bool = False
    instruction: str = ""
    input: str = ""
    references: tuple[str, ...] = ()
    written_by: WrittenBy | UnsetType = UNSET
    stemmer: bool = False
    prompt: str = ""
    response: str = ""
    finish_reason: FinishReason | Literal["failed"] = "stop"
    completion_tokens: int = 0
    failed: str | UnsetType = UNSET
    reference_logprob: float | UnsetType = UNSET
    reference_tokens: int | UnsetType = UNSET

    @property
    def author(self) -> WrittenBy:
        """Who wrote the task."""
        return self.written_by or ("model" if self.set in GENERATED_SETS else "person")


PREDICTIONS = RowFile("predictions", Answer)


class EvaluationEngine(Engine, Protocol):
    """What evaluation asks of an engine beyond generating; `VLLMEngine` has it."""

    tokenizer: Any
    """A transformers tokenizer, to be read only."""

    chat_template: str | None
    """When set, used instead of the tokenizer's own."""

    end_token_ids: frozenset[int]
    """The tokens that the model itself ends a text with."""

    stop_token_ids: frozenset[int]
    """The tokens that end an answer."""

    control_tokens: ControlTokens
    """Encodes contents that hold the text of control tokens."""

    def render(self, prompt: Prompt) -> str:
        """Return the prompt as text."""
        ...

    def encode(self, prompt: Prompt) -> list[int]:
        """Return the prompt's token ids."""
        ...

    def encode_text(self, text: str) -> list[int]:
        """Return the token ids of a text by itself."""
        ...

    async def response_logprob(self, prompt_ids: list[int], response_ids: list[int]) -> float:
        """Return the log-probability of a response after a prompt, summed over its tokens."""
        ...


@dataclass(frozen=True, slots=True)
class Arm:
    """A model and a way to prompt it; the name is part of file names."""

    name: str
    model: str
    prompting: Prompting = "zero_shot"
    revision: str | None = None


async def answer(
    engine: EvaluationEngine,
    arm: Arm,
    questions: Sequence[Question],
    plan: EvaluationPlan,
    *,
    temperature: float = 0.0,
    limit: str = "max_tokens",
    label: str = "answers",
    made: Made[Answer] = lambda _, __: None,
) -> list[Answer]:
    """Return an arm's answers, in the order of the questions. The engine gets all questions at once.

    A question that cannot be asked (too long for the context) has an empty answer and the finish reason `failed`.

    Args:
        engine: of the arm's model.
        arm: the model and how it is prompted.
        questions: what to ask.
        plan: options, prompt format and few-shot examples.
        temperature: of the sampling; 0 is greedy.
        limit: the option of `evaluate` that limits the answers' tokens.
        label: what progress messages call the answers.
        made: is given each answer, with the position of its question, as soon as there is one.

    Raises:
        ConfigError: no question can be asked.
        EngineError: the engine died.
    """
    max_tokens: int = getattr(plan.options, limit)
    if engine.context_length <= max_tokens:
        raise ConfigError(
            f"`evaluate.{limit}`: {max_tokens} tokens of answer leave no room for a question in the context of "
            f"{arm.model!r}, {engine.context_length} tokens; lower it"
        )
    end = None
    if arm.prompting == "zero_shot":
        end = set_template(engine, plan.prompt_format, plan.chat_template_path)
    sampling = Sampling(max_tokens=max_tokens, temperature=temperature)
    # Before the answers: these are complete as soon as they come, and then no other request may be in flight.
    references: list[dict[str, Any]] = [{} for _ in questions]
    if end is not None:
        references = await together(_of_reference(engine, question, end) for question in questions)
    with AnswerProgress(arm.name, len(questions), label) as progress:

        async def one(number: int, question: Question) -> Answer:
            row = await _answer_one(engine, arm, question, plan.examples, sampling)
            row = replace(row, **references[number])
            made(number, row)
            progress.advance(row.completion_tokens)
            return row

        rows = await together(one(*numbered) for numbered in enumerate(questions))
    failed = [row for row in rows if row.finish_reason == "failed"]
    if failed:
        console.print(f"{arm.name}: {len(failed)} of {len(rows)} questions failed; the first: {failed[0].failed}")
    return rows


async def together(waiting: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Await everything at once, and return the results in order.

    An engine that dies makes all of them fail with the same error; it is raised once.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in waiting]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def set_template(engine: EvaluationEngine, prompt_format: prompt_formats.PromptFormat, path: str | None) -> int:
    """Give the engine a chat template if the model has learnt none, and let its end token end answers.

    Args:
        engine: the engine; one that already has a chosen template keeps it.
        prompt_format: the prompt format of the tuning.
        path: the file or tokenizer of `--chat_template_path`; None without that argument.

    Returns:
        The token that ends an answer.
    """
    tokenizer = engine.tokenizer
    if not engine.has_chat_template and engine.chat_template is None:
        prompt_formats.prepare(tokenizer, prompt_format, path=path, ends=engine.end_token_ids)
        engine.chat_template = tokenizer.chat_template
    written = chat_templates.turn_end(tokenizer, engine.chat_template)
    end: int = tokenizer.eos_token_id if written is None else written
    engine.stop_token_ids |= {end}
    return end


async def _answer_one(
    engine: EvaluationEngine, arm: Arm, question: Question, examples: Examples, sampling: Sampling
) -> Answer:
    few_shot = arm.prompting == "few_shot"
    ours = few_shot and not question.message  # A benchmark's own prompt and its answers have not our markers.
    text = ""
    try:
        prompt = _few_shot(engine, question, examples, sampling.max_tokens) if few_shot else question.messages
        text = engine.render(prompt)
        key = f"{arm.name}/{question.set}/{question.id}"
        stop = BENCHMARK_STOP if few_shot and not ours else ()
        another = prompts.next_example(examples.frame) if ours else None
        completion = await engine.generate(Request(key, prompt, sampling, stop, ends_before=another))
    except RequestFailed as failure:
        return Answer(**question.fields(), prompt=text, finish_reason="failed", failed=str(failure))
    written = completion.text
    response = parsing.parse_answer(written, examples.frame)[0] if ours else parsing.strip_thinking(written)
    return Answer(
        **question.fields(),
        prompt=text,
        response=response,
        finish_reason=completion.finish_reason,
        completion_tokens=completion.completion_tokens,
    )


def _few_shot(engine: Engine, question: Question, examples: Examples, max_tokens: int) -> Prompt:
    """Return the question after as many examples as fit; a benchmark's own prompt has its own examples."""
    if question.message:
        return question.message.rstrip()
    limit = engine.context_length - max_tokens
    fitted = fit(
        lambda shown: prompts.encode_answer(question.instruction, question.input, shown, examples.frame),
        examples.tasks,
        limit,
        engine.count_tokens,
    )
    if fitted is None:
        raise RequestFailed("prompt_too_long", f"{question.set}/{question.id}: more than {limit} tokens")
    return fitted[0]


async def _of_reference(engine: EvaluationEngine, question: Question, end: int) -> dict[str, Any]:
    """Return the log-probability of a question's reference, its end token included, as fields of its answer.

    There is none for sets that the generator did not write, and where prompt and reference do not fit the context.
    """
    if question.set not in GENERATED_SETS:
        return {}
    ids = [*engine.encode_text(question.references[0].strip()), end]
    try:
        logprob = await engine.response_logprob(engine.encode(question.messages), ids)
    except RequestFailed:
        return {}
    return {"reference_logprob": round(logprob, 6), "reference_tokens": len(ids)}
