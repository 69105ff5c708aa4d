"""Fetch the models of a run before it begins: a night does not end at a model that the Hub no longer gives."""

from __future__ import annotations

from collections.abc import Iterable

from selfinstruct.chain.asking import asks
from selfinstruct.config.later_stages import Evaluate
from selfinstruct.config.schema import TUNED_MODEL, Config
from selfinstruct.engines.models import fetch_model
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.scores import ARMS
from tuning.training.launch import tuned_from


def fetch_models(config: Config, run: RunDirectory) -> None:
    """Fetch every model that the chain will load and that is not on this machine.

    Nothing is fetched for a run that has begun: it may be done, and each stage fetches what it still needs.

    Args:
        config: the configuration.
        run: the run's directory.

    Raises:
        ConfigError: a model does not exist, cannot be reached, or does not fit on the disk.
    """
    if run.journal.exists() or run.generated.journal.exists():
        return
    judge = config.evaluate.judge if config.evaluate.judge_endpoint is None else None
    rewriter = None if config.regenerate.endpoint else config.regenerate.model
    answering = None if config.answer.endpoint else config.answer.model
    rater = config.rate.model if "rate" in asks(config) and not config.rate.endpoint else None
    tagger = config.tag.model if "tag" in asks(config) and not config.tag.endpoint else None
    others = [(name, None) for name in (answering, rewriter, judge, rater, tagger) if name not in (None, TUNED_MODEL)]
    generator = [] if config.endpoint else [(config.model, config.revision)]
    models = [*generator, tuned_from(config.tune, config.model, config.revision), *others]
    for name, revision in dict.fromkeys(models):
        fetch_model(str(name), revision)


def fetch_compared(options: Evaluate, models: Iterable[str]) -> None:
    """Fetch the judge and the further models of an evaluation, so that it does not end at one after hours.

    Args:
        options: the section `evaluate`.
        models: as NAME=MODEL, or MODEL alone; the names of the run's own arms are left out.

    Raises:
        ConfigError: a model does not exist, cannot be reached, or does not fit on the disk.
    """
    parts = [text.partition("=") for text in models]
    named = [model if equals else name for name, equals, model in parts if equals or name not in ARMS]
    judge = [] if options.judge_endpoint or not options.judge else [options.judge]
    for model in filter(None, [*named, *judge]):
        fetch_model(model)
