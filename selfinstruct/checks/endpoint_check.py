"""The endpoints that generate: whether they are there, serve the model, and answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from selfinstruct.engines.endpoints import Endpoints
from selfinstruct.engines.served_model import ServedModel, ServerFailed
from selfinstruct.errors import ConfigError
from selfinstruct.generation.served import connect
from selfinstruct.records import SeedTask
from selfinstruct.signals import until_signal

_LONGEST_S = 120.0
"""Longest time for the two questions of one token that each endpoint is asked."""


def reached(
    urls: Sequence[str], model: str, engine: Mapping[str, Any], tasks: Sequence[SeedTask], enough: int
) -> Endpoints:
    """Ask each endpoint for its models, and for one token. Return what they said; all connections are closed.

    Args:
        urls: of the endpoints.
        model: its name in the configuration.
        engine: engine arguments; only `max_model_len` counts.
        tasks: the seed tasks.
        enough: tokens that no prompt with its answer exceeds.

    Raises:
        ConfigError: a URL, the key, the model or the context is wrong, or no endpoint can be reached.
    """

    async def ask() -> Endpoints:
        endpoints = await connect(urls, model, engine, tasks, timeout_s=_LONGEST_S, enough=enough)
        await endpoints.close()
        return endpoints

    return asyncio.run(until_signal(ask()))


def listed(url: str) -> str:
    """Return in words which models an endpoint lists.

    Raises:
        ConfigError: it cannot be reached, refuses the key, or is no endpoint.
    """

    async def ask() -> str:
        model = ServedModel.at(url, [""])
        try:
            models = await model.listed()
        except ServerFailed as failed:
            raise ConfigError(f"{model.url}: {failed}") from None
        finally:
            await model.close()
        if models is None:
            return "lists no models; name one with --model"
        names = [f"{each.id} (context {each.context_length or 'not known'})" for each in models]
        return ", ".join(names[:10]) or "serves no model"

    return asyncio.run(until_signal(ask()))


def refuse_engine_arguments(engine: Mapping[str, Any]) -> None:
    """Refuse engine arguments where no engine is started here.

    Raises:
        ConfigError: there is one besides the context's length.
    """
    others = [f"--{name.replace('_', '-')}" for name in engine if name != "max_model_len"]
    if others:
        raise ConfigError(f"{' '.join(others)}: with --endpoint the server has these; give them where it is started")
