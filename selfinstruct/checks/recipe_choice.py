"""Which recipe suits a model, by its tokenizer and configuration."""

from __future__ import annotations

from selfinstruct.checks.model_fit import read_tokenizer
from selfinstruct.config.schema import Recipe
from selfinstruct.engines.models import adapter_arguments, resolve_model, with_weights
from selfinstruct.errors import ConfigError


def recipe_for(model: str) -> tuple[Recipe | None, str]:
    """Return the recipe for a model, or None and why its files do not say it.

    A model that has learnt its chat template is aligned. Base models that bring their family's template have not.

    Args:
        model: its name in the configuration. Of one on the Hub the small files are fetched, not the weights.
    """
    try:
        name = resolve_model(model)
        base, revision = with_weights(name)
        tokenizer = str(adapter_arguments(name).get("tokenizer", base))
        prompts = read_tokenizer(base, tokenizer, revision, {"max_model_len": 1})
    except ConfigError as error:
        return None, str(error)
    if prompts is None:
        return None, f"the tokenizer of {model!r} cannot be read here"
    return ("aligned" if prompts.has_chat_template else "base"), ""
