"""Options of a run's identity that are younger than some runs, or whose default has changed.

A run that was recorded before is continued by the same command as before: an option that the command leaves out has the
value that it had when the run was made.
"""

from __future__ import annotations

from typing import Any

from selfinstruct.config.load import recipe_values
from selfinstruct.config.paths import anchored
from selfinstruct.config.schema import Answer, ConfigT

EARLIER_DEFAULTS: dict[str, Any] = {
    "recipe": None,
    "prompt_language": "en",
    "window": 96,
    "window_soon": 1536,
    "window_share": 0.0,
    "answering": "inline",
    **{
        f"answer.{name}": info.default for name, info in Answer.model_fields.items() if name != "endpoint"
    },  # `inline` reads none
    "answer.top_p": 0.9,
    "answer.min_p": 0.0,
    "proposal.max_tokens": 1024,
    "proposal.chat_form": "list",
    "proposal.seed_quota": [],
    "filters.tokenizer": "characters",
    "filters.opening_punctuation": False,
    "filters.near_evaluation": "off",
    "classification.calibrate": False,
    "filters.is_task": "off",
    "filters.is_task_threshold": None,
    "filters.echo": "off",
    "filters.loop": "off",
    "filters.leak": "off",
    "filters.unfinished": "off",
    "filters.no_material": "off",
    "filters.identity": "off",
    "filters.refusal": "off",
    "filters.url": "off",
    "filters.language": "off",
    "filters.personal_data": "off",
    "filters.constraint": "off",
    "constraints.share": 0.0,
    "constraints.max": 3,
    "scores.scorer": None,
    "scores.min_best": None,
    "scores.min_worst": None,
    "scores.max_spread": None,
    "max_retries": 0,
    "proposer_weights": "fixed",
    "plan.num_generated": 0,
    "template.openings": 0.0,
    "proposers.list": 1.0,
    "proposers.plan": 0.0,
    "proposers.evolve": 0.0,
    "proposers.template": 0.0,
    "proposers.single_step": 0.0,
}
"""By dotted name: the default before it changed or, for a new option, the value that gives the old behaviour."""

YOUNGER_SECTIONS = ("proposers", "answer", "constraints", "scores")
"""Sections that belong to every run's identity, and that runs made before lack. Other sections need not be there."""


def completed(recorded: dict[str, Any]) -> dict[str, Any]:
    """Return a recorded identity with the options that did not exist yet, at the values of the old behaviour.

    Its paths are made absolute: earlier versions recorded some as they were given.

    Args:
        recorded: the identity in a journal's header or in `rounds.json`; a section that is
            missing stays missing, unless it is younger than some runs.
    """
    recorded = anchored(recorded)
    if not recorded:
        return recorded
    for name, earlier in EARLIER_DEFAULTS.items():
        *parents, option = name.split(".")
        if parents and parents[0] in YOUNGER_SECTIONS:
            recorded.setdefault(parents[0], {option: earlier})
        _section(recorded, parents).setdefault(option, earlier)
    return recorded


def continuing(config: ConfigT, recorded: dict[str, Any]) -> ConfigT:
    """Return the configuration with the earlier default of each option that it leaves out, if the run has that value.

    An option with the value of the run's recipe counts as left out: recipes get options that their runs lack.

    Args:
        config: the configuration of this call.
        recorded: the identity of the run that it continues; empty if there is none.
    """
    recorded = completed(recorded)
    values = config.model_dump(exclude_unset=True)
    recipe = recipe_values(config.recipe) if config.recipe and recorded.get("recipe") == config.recipe else {}
    for name, earlier in EARLIER_DEFAULTS.items():
        *parents, option = name.split(".")
        of_run = _section(recorded, parents)
        if option in of_run and of_run[option] == earlier:
            section = values
            for parent in parents:
                section = section.setdefault(parent, {})
            of_recipe = _section(recipe, parents)
            if option not in section or (option in of_recipe and section[option] == of_recipe[option]):
                section[option] = earlier
    return type(config).model_validate(values)


def _section(values: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Return a section of the values; an empty one if it is missing."""
    for name in names:
        values = values.get(name, {})
    return values
