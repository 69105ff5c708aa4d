"""What all parts of an evaluation need of the run's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from selfinstruct.config.engine_arguments import of_other_models
from selfinstruct.config.later_stages import Evaluate
from selfinstruct.config.schema import Config
from selfinstruct.generation.examples import Examples
from selfinstruct.generation.frame import load_frame
from tuning.training.prompt_formats import PromptFormat


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """What all parts of an evaluation need of the run's configuration.

    Attributes:
        options: the section `evaluate`.
        seed: of every random choice.
        generator: the model that wrote the data.
        engine: vLLM's arguments of the run.
        prompt_format: how the tuned model is prompted; a base model without a chat template gets the same text.
        chat_template_path: the user's own chat template.
        allow_control_tokens: contents may hold control tokens, as in the tuning.
        examples: the seeds that few-shot prompts show, and the words of these prompts.
    """

    options: Evaluate
    seed: int
    generator: str
    engine: Mapping[str, Any]
    prompt_format: PromptFormat = "auto"
    chat_template_path: str | None = None
    allow_control_tokens: bool = False
    examples: Examples = field(default_factory=lambda: Examples((), load_frame()))

    @classmethod
    def of(cls, config: Config, examples: Examples | None = None) -> EvaluationPlan:
        """Return the plan of a run."""
        arguments = config.tune.arguments
        return cls(
            options=config.evaluate,
            seed=config.seed,
            generator=config.model,
            engine=config.engine,
            prompt_format=arguments.get("prompt_format", "auto"),
            chat_template_path=arguments.get("chat_template_path"),
            allow_control_tokens=bool(arguments.get("allow_control_tokens", False)),
            examples=examples or Examples((), load_frame(config.prompt_language)),
        )

    def engine_arguments(self, model: str) -> dict[str, Any]:
        """Return vLLM's arguments for a model: the run's own, without those that belong to the generator's files."""
        if model == self.generator:
            return dict(self.engine)
        return of_other_models(self.engine)
