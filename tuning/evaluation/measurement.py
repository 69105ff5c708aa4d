"""Measure arms: start each model's engine once, and make the rows that are not kept yet."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic

from selfinstruct.config.engine_arguments import of_identity
from selfinstruct.console import console
from selfinstruct.engines.control_tokens import ControlTokens
from selfinstruct.engines.models import model_fingerprint
from selfinstruct.engines.processes import wait_until_gone
from selfinstruct.engines.vllm import VLLMEngine
from selfinstruct.formats import seed_tasks
from selfinstruct.generation.examples import Examples
from selfinstruct.generation.frame import load_frame
from selfinstruct.generation.prompts import PROMPTS_VERSION
from selfinstruct.signals import until_signal
from tuning.evaluation.answer_cache import AnswerCache, Made, R, RowFile, key_of
from tuning.evaluation.answers import ANSWERS_VERSION, Arm, EvaluationEngine
from tuning.evaluation.evaluation_plan import EvaluationPlan

StartEngine = Callable[[Arm, dict[str, Any]], Awaitable[EvaluationEngine]]
"""Starts the engine of an arm's model with these vLLM arguments."""


async def start_vllm(arm: Arm, arguments: dict[str, Any]) -> EvaluationEngine:
    """Start vLLM with an arm's model."""
    return await VLLMEngine.start(arm.model, revision=arm.revision, arguments=arguments)


@dataclass(frozen=True, slots=True)
class Measurement(Generic[R]):
    """One kind of rows that an arm's engine makes.

    Attributes:
        file: where they are kept.
        contents: for each row, all that determines it besides the arm, its engine and its prompt format: JSON values,
            no two the same.
        make: makes those of an arm's rows that have these numbers, on its engine; each is handed over, with its number,
            as soon as it is made.
        few_shot: whether it depends on how the arm is prompted. If not, few-shot arms are left out: they share their
            model with another arm.
    """

    file: RowFile[R]
    contents: Sequence[Any]
    make: Callable[[EvaluationEngine, Arm, Sequence[int], Made[R]], Coroutine[Any, Any, None]]
    few_shot: bool = True

    def concerns(self, arm: Arm) -> bool:
        """Return whether this is measured of an arm."""
        return self.few_shot or arm.prompting != "few_shot"


@dataclass(frozen=True, slots=True)
class _Missing:
    """Rows of an arm that are not kept: their keys by their numbers."""

    arm: Arm
    measurement: Measurement[Any]
    keys: dict[int, str]


Measured = dict[str, dict[str, dict[str, Any]]]
"""By the name of a measurement's file and by arm: the rows in their order, by key."""


def measure(
    plan: EvaluationPlan,
    measurements: Sequence[Measurement[Any]],
    arms: Sequence[Arm],
    cache: AnswerCache,
    start: StartEngine = start_vllm,
) -> Measured:
    """Return the rows of each measurement, and make those that are not kept. Each model's engine starts at most once.

    Args:
        plan: how arms are prompted, and vLLM's arguments.
        measurements: what is measured, in this order.
        arms: the models and how they are prompted.
        cache: where the rows are kept.
        start: starts engines.

    Raises:
        ConfigError: a model cannot be loaded, or its context is too short.
        EngineError: an engine did not start or died; what was made before is kept.
    """
    keys = {arm.name: _keys(plan, arm, measurements) for arm in arms}
    missing: dict[tuple[str, str | None], list[_Missing]] = {}
    for arm in arms:
        for measurement in measurements:
            if measurement.concerns(arm) and (absent := _missing(cache, arm, measurement, keys[arm.name])):
                missing.setdefault((arm.model, arm.revision), []).append(absent)
    for of_model in missing.values():
        asyncio.run(until_signal(_make(plan, of_model, cache, start)))
        wait_until_gone()
    return {
        m.file.name: {a.name: _kept(cache, a, m, keys[a.name]) for a in arms if m.concerns(a)} for m in measurements
    }


def _keys(plan: EvaluationPlan, arm: Arm, measurements: Sequence[Measurement[Any]]) -> dict[str, list[str]]:
    """Return the keys of an arm's rows, by the name of their file."""
    engine = plan.engine_arguments(arm.model)
    shared = key_of(
        {
            "version": [ANSWERS_VERSION, PROMPTS_VERSION],
            "model": model_fingerprint(arm.model, arm.revision),  # Raises if the model does not exist.
            "engine": of_identity(engine),
            "prompting": arm.prompting,
            "examples": _of_examples(plan.examples) if arm.prompting == "few_shot" else None,
            "prompt_format": [plan.prompt_format, plan.chat_template_path],
            "max_tokens": plan.options.max_tokens,
            **({"allow_control_tokens": True} if plan.allow_control_tokens else {}),
        }
    )
    return {m.file.name: [key_of([shared, content]) for content in m.contents] for m in measurements}


def _of_examples(examples: Examples) -> Any:
    tasks, frame = seed_tasks.fingerprint(examples.tasks), examples.frame
    return tasks if frame == load_frame() else [tasks, frame.language, frame.mark]


def _missing(
    cache: AnswerCache, arm: Arm, measurement: Measurement[Any], keys: Mapping[str, list[str]]
) -> _Missing | None:
    """Return which rows of an arm have to be made, and say how many; None when all are kept."""
    of_file, kept = keys[measurement.file.name], cache.kept(measurement.file, arm.name)
    absent = {number: key for number, key in enumerate(of_file) if key not in kept}
    if not absent:
        console.print(f"{arm.name}: {cache.path(measurement.file, arm.name)} is up to date")
        return None
    if known := len(of_file) - len(absent):
        console.print(f"{arm.name}: {known} of {len(of_file)} {measurement.file.name} are kept from before")
    return _Missing(arm, measurement, absent)


def _kept(cache: AnswerCache, arm: Arm, measurement: Measurement[R], keys: Mapping[str, list[str]]) -> dict[str, R]:
    kept = cache.kept(measurement.file, arm.name)
    return {key: kept[key] for key in keys[measurement.file.name]}


async def _make(plan: EvaluationPlan, missing: Sequence[_Missing], cache: AnswerCache, start: StartEngine) -> None:
    """Start one model's engine, and make and keep its rows."""
    first = missing[0].arm
    console.print(f"starting the engine with model {first.model!r}")
    engine = await start(first, plan.engine_arguments(first.model))
    if plan.allow_control_tokens:
        engine.control_tokens = ControlTokens(engine.tokenizer, allowed=True)
    try:
        for part in missing:
            await _make_part(engine, part, cache)
    finally:
        await engine.close()


async def _make_part(engine: EvaluationEngine, part: _Missing, cache: AnswerCache) -> None:
    with cache.keeping(part.measurement.file, part.arm.name) as keep:

        def made(number: int, row: Any) -> None:
            keep(part.keys[number], row)

        await part.measurement.make(engine, part.arm, list(part.keys), made)
