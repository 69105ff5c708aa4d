"""Measure arms: start each model's engine once, and make the rows that are not kept yet."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Generic

from selfinstruct.config.schema import ENGINE_IDENTITY
from selfinstruct.console import console
from selfinstruct.engines.models import model_fingerprint
from selfinstruct.engines.processes import wait_until_gone
from selfinstruct.engines.vllm import VLLMEngine
from selfinstruct.formats import seed_tasks
from selfinstruct.generation import prompts
from tuning.evaluation.answer_cache import AnswerCache, R, RowFile, key_of
from tuning.evaluation.answers import ANSWERS_VERSION, Arm, EvaluationEngine
from tuning.evaluation.plan import EvaluationPlan

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
        content: all that determines the rows besides the arm, its engine and its prompt format; JSON values.
        make: makes an arm's rows on its engine.
        few_shot: whether it depends on how the arm is prompted. If not, few-shot arms are left out: they share their
            model with another arm.
    """

    file: RowFile[R]
    content: Any
    make: Callable[[EvaluationEngine, Arm], Coroutine[Any, Any, list[R]]]
    few_shot: bool = True

    def concerns(self, arm: Arm) -> bool:
        """Return whether this is measured of an arm."""
        return self.few_shot or arm.prompting != "few_shot"


def measure(
    plan: EvaluationPlan,
    measurements: Sequence[Measurement[Any]],
    arms: Sequence[Arm],
    cache: AnswerCache,
    start: StartEngine = start_vllm,
) -> None:
    """Make the rows that are not up to date. Each model's engine starts at most once, one after the other.

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
    missing: dict[tuple[str, str | None], list[tuple[Arm, Measurement[Any], str]]] = {}
    for arm in arms:
        fingerprint = model_fingerprint(arm.model, arm.revision)  # Raises if the model does not exist.
        for measurement in measurements:
            if not measurement.concerns(arm):
                continue
            key = _key(plan, arm, measurement, fingerprint)
            if cache.is_current(measurement.file, arm.name, key):
                console.print(f"{arm.name}: {cache.path(measurement.file, arm.name)} is up to date")
            else:
                missing.setdefault((arm.model, arm.revision), []).append((arm, measurement, key))
    for of_model in missing.values():
        asyncio.run(_make(plan, of_model, cache, start))
        wait_until_gone()


def _key(plan: EvaluationPlan, arm: Arm, measurement: Measurement[Any], fingerprint: str) -> str:
    engine = plan.engine_arguments(arm.model)
    return key_of(
        {
            "version": [ANSWERS_VERSION, prompts.PROMPTS_VERSION],
            "model": fingerprint,
            "engine": {name: value for name, value in engine.items() if name in ENGINE_IDENTITY},
            "prompting": arm.prompting,
            "examples": seed_tasks.fingerprint(plan.examples) if arm.prompting == "few_shot" else None,
            "prompt_format": [plan.prompt_format, plan.chat_template_path],
            "max_tokens": plan.options.max_tokens,
            "content": measurement.content,
        }
    )


async def _make(
    plan: EvaluationPlan, missing: Sequence[tuple[Arm, Measurement[Any], str]], cache: AnswerCache, start: StartEngine
) -> None:
    """Start one model's engine, and make and keep its rows."""
    first = missing[0][0]
    console.print(f"starting the engine with model {first.model!r}")
    engine = await start(first, plan.engine_arguments(first.model))
    try:
        for arm, measurement, key in missing:
            cache.write(measurement.file, arm.name, await measurement.make(engine, arm), key)
    finally:
        await engine.close()
