"""Arms answer questions: a model and a way to prompt it, the engine it runs on, and the saved answers.

evaluation/predictions-<arm>.jsonl   one answer a line: the question (id, task, set, category, is_classification,
                                     instruction, input, references), prompt as sent, response, finish_reason,
                                     completion_tokens; for held-out rows reference_logprob and reference_tokens
evaluation/predictions-<arm>.key     hash of all that determines them; while it stands nothing is asked again
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from selfinstruct import jsonl, prompts
from selfinstruct import seeds as seed_files
from selfinstruct.config import ENGINE_IDENTITY, Config, Sampling
from selfinstruct.engines.base import Engine, Request, RequestFailed
from selfinstruct.errors import ConfigError
from selfinstruct.progress import console
from selfinstruct.prompts import Prompt
from selfinstruct.records import SeedTask
from tuning import questions, templates
from tuning.progress import AnswerProgress
from tuning.questions import GENERATED_SET, Prompting, Question

PREDICTIONS_VERSION = 1
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


StartEngine = Callable[[Arm, dict[str, Any]], Awaitable[EvaluationEngine]]
"""Starts the engine of an arm's model with these vLLM arguments."""


async def start_vllm(arm: Arm, arguments: dict[str, Any]) -> EvaluationEngine:
    """The engine that evaluation runs on, but in tests."""
    from selfinstruct.engines.vllm import VLLMEngine

    return await VLLMEngine.start(arm.model, revision=arm.revision, arguments=arguments)


class Answers:
    """The answers of a run's arms to its questions, made when they are not there yet.

    Args:
        config: the run's configuration.
        folder: where they are saved.
        asked: the questions.
        start: starts engines.
    """

    def __init__(self, config: Config, folder: Path, asked: Sequence[Question], start: StartEngine) -> None:
        self._config = config
        self._folder = folder
        self._asked = asked
        self._start = start
        seeds = seed_files.load([seed_files.resolve(name) for name in config.seeds])
        self._shown = questions.few_shot_examples(seeds, config.evaluate.num_examples, config.seed)

    def of(self, arms: Sequence[Arm]) -> dict[str, list[Row]]:
        """Each arm's rows in the order of the questions. Each model's engine starts at most once, one after the other.

        Raises:
            ConfigError: a model cannot be loaded, or its context is too short.
            EngineError: an engine did not start or died; the answers of the arms before are kept.
        """
        waiting: dict[tuple[str, str | None], list[Arm]] = {}
        for arm in arms:
            key = self._key(arm)  # For each, before any engine starts: a model that is not there is found here.
            if self._path(arm).exists() and _read(self._key_path(arm)) == key:
                console.print(f"{arm.name}: {self._path(arm)} is up to date")
            else:
                waiting.setdefault((arm.model, arm.revision), []).append(arm)
        for same_model in waiting.values():
            asyncio.run(self._make(same_model))
            _wait_until_gone()
        return {arm.name: [row for _, row in jsonl.read(self._path(arm))] for arm in arms}

    def _path(self, arm: Arm) -> Path:
        return self._folder / f"predictions-{arm.name}.jsonl"

    def _key_path(self, arm: Arm) -> Path:
        return self._folder / f"predictions-{arm.name}.key"

    def _key(self, arm: Arm) -> str:
        """SHA-256 of all that determines an arm's answers."""
        content = {
            "version": [PREDICTIONS_VERSION, prompts.PROMPTS_VERSION],
            "model": model_fingerprint(arm.model, arm.revision),
            "engine": {k: v for k, v in engine_arguments(arm, self._config).items() if k in ENGINE_IDENTITY},
            "prompting": arm.prompting,
            "prompt_format": _prompt_format(self._config),
            "examples": seed_files.fingerprint(self._shown) if arm.prompting == "few_shot" else None,
            "max_tokens": self._config.evaluate.max_tokens,
            "questions": [asdict(question) for question in self._asked],
        }
        return hashlib.sha256(jsonl.dumps(content).encode()).hexdigest()

    async def _make(self, arms: Sequence[Arm]) -> None:
        """Start one model's engine, let each of its arms answer everything, and save each arm's answers once done."""
        console.print(f"starting the engine with model {arms[0].model!r}")
        engine = await self._start(arms[0], engine_arguments(arms[0], self._config))
        try:
            for arm in arms:
                rows = await answer(engine, arm, self._asked, self._shown, self._config)
                self._key_path(arm).unlink(missing_ok=True)
                jsonl.write(self._path(arm), rows)
                jsonl.write_text(self._key_path(arm), self._key(arm) + "\n")
        finally:
            await engine.close()


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8").strip() if path.exists() else None


def engine_arguments(arm: Arm, config: Config) -> dict[str, Any]:
    """vLLM's arguments for an arm: the run's own, less what belongs to the generator's files alone."""
    if arm.model == config.model:
        return dict(config.engine)
    generators = {"tokenizer", "tokenizer_revision", "quantization", "code_revision"}
    return {name: value for name, value in config.engine.items() if name not in generators}


def model_fingerprint(model: str, revision: str | None = None) -> str:
    """What tells one model from another without reading gigabytes: small files by content, weights by size and time.

    A name on the Hub stands for itself, with its revision.
    """
    from selfinstruct.engines.vllm import resolve_model

    folder = Path(resolve_model(model))
    if not folder.is_dir():
        return f"{model}@{revision or 'main'}"
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in {".json", ".jinja", ".txt"}:
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
        elif path.suffix in {".safetensors", ".bin", ".model"}:
            about = path.stat()
            digest.update(f"{path.name}\0{about.st_size}\0{about.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def _prompt_format(config: Config) -> templates.PromptFormat:
    """How the tuned model is prompted; a base model without a template of its own is asked in the same text."""
    return config.tune.arguments.get("prompt_format", "auto")


async def answer(
    engine: EvaluationEngine, arm: Arm, asked: Sequence[Question], shown: Sequence[SeedTask], config: Config
) -> list[Row]:
    """An arm's answers, in the order of the questions; all are given to the engine at once.

    A question that cannot be asked (too long for the context) has an empty answer and the finish reason `failed`.

    Raises:
        ConfigError: no question can be asked.
        EngineError: the engine died.
    """
    max_tokens = config.evaluate.max_tokens
    if engine.context_length <= max_tokens:
        raise ConfigError(
            f"`evaluate.max_tokens`: {max_tokens} tokens of answer leave no room for a question in the context of "
            f"{arm.model!r}, {engine.context_length} tokens; lower it"
        )
    if arm.prompting == "zero_shot":
        _settle_template(engine, _prompt_format(config))
    with AnswerProgress(arm.name, len(asked)) as progress:

        async def one(question: Question) -> Row:
            row = await _answer_one(engine, arm, question, shown, max_tokens)
            progress.advance(row["completion_tokens"])
            return row

        rows = await _all(one(question) for question in asked)
    if arm.prompting == "zero_shot":
        held_out = [k for k, question in enumerate(asked) if question.set == GENERATED_SET]
        measured = await _all(_reference_logprob(engine, asked[k]) for k in held_out)
        for k, found in zip(held_out, measured, strict=True):
            rows[k] |= found
    failed = [row for row in rows if row["finish_reason"] == "failed"]
    if failed:
        console.print(f"{arm.name}: {len(failed)} of {len(rows)} questions failed; the first: {failed[0]['failed']}")
    return rows


async def _all(waiting: Iterable[Coroutine[Any, Any, Row]]) -> list[Row]:
    """The results of everything at once, in order. An engine that dies fails all of them alike: one error says it."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in waiting]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def _settle_template(engine: EvaluationEngine, prompt_format: templates.PromptFormat) -> None:
    """Let the engine have a chat template, and end its answers as that does."""
    tokenizer = engine.tokenizer
    if engine.has_chat_template and engine.chat_template is None:
        end = templates.ending(tokenizer) or tokenizer.eos_token
    elif engine.chat_template is None:
        end = templates.prepare(tokenizer, prompt_format).end_token
        engine.chat_template, engine.has_chat_template = tokenizer.chat_template, True
    else:
        return
    engine.end_token_id = tokenizer.convert_tokens_to_ids(end)


async def _answer_one(
    engine: EvaluationEngine, arm: Arm, question: Question, shown: Sequence[SeedTask], max_tokens: int
) -> Row:
    row = {**asdict(question), "prompt": "", "response": "", "finish_reason": "failed", "completion_tokens": 0}
    few_shot = arm.prompting == "few_shot"
    try:
        prompt = _few_shot(engine, question, shown, max_tokens) if few_shot else question.messages
        row["prompt"] = engine.render(prompt)
        key = f"{arm.name}/{question.set}/{question.id}"
        stop = questions.ANSWER_STOP if few_shot else ()
        completion = await engine.generate(Request(key, prompt, Sampling(max_tokens=max_tokens), stop))
    except RequestFailed as failure:
        return row | {"failed": str(failure)}
    parse = questions.parse_answer if few_shot else questions.strip_thinking
    row["response"] = parse(completion.text)
    row["finish_reason"] = completion.finish_reason
    row["completion_tokens"] = completion.completion_tokens
    return row


def _few_shot(engine: Engine, question: Question, shown: Sequence[SeedTask], max_tokens: int) -> Prompt:
    """The question after as many examples as fit."""
    limit = engine.context_length - max_tokens
    fitted = prompts.fit(
        lambda k: questions.encode_answer(question.instruction, question.input, shown[:k]),
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


def _wait_until_gone(timeout_s: float = 60.0) -> None:
    """Wait for the engine's processes to end, and with them for the memory that they hold on the GPU."""
    import psutil

    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and any(map(_is_worker, psutil.Process().children(recursive=True))):
        time.sleep(0.1)


def _is_worker(process: Any) -> bool:
    """Whether a child process is the engine's, not one of Python's own helpers, which stay until the end."""
    import psutil

    try:
        return process.status() != psutil.STATUS_ZOMBIE and "resource_tracker" not in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False
