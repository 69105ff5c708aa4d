"""What a configuration makes a run read."""

from __future__ import annotations

from selfinstruct.config.schema import Config


def inputs(config: Config) -> list[str]:
    """Return the models, files and earlier runs that a run reads, as they were given. Not all of them are paths."""
    evaluate = config.evaluate
    models = (config.model, config.tune.model, config.regenerate.model, evaluate.judge)
    single = (*models, config.tune.accelerate_config, evaluate.ifeval)
    several = (config.seeds, config.parent_runs, evaluate.tasks, evaluate.plain_text, evaluate.lm_eval)
    return [*filter(None, single), *(name for names in several for name in names)]
