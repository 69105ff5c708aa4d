"""A run's generator at endpoints: which names its model may have there, and how its tokens are estimated."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from selfinstruct.engines.context import ENOUGH
from selfinstruct.engines.endpoints import Endpoints
from selfinstruct.engines.models import resolve_model
from selfinstruct.errors import ConfigError
from selfinstruct.records import SeedTask

_SAMPLE_TASKS = 40


async def connect(
    urls: Sequence[str],
    model: str,
    engine: Mapping[str, Any],
    seeds: Sequence[SeedTask],
    *,
    timeout_s: float,
    enough: int = ENOUGH,
    most_at_once: int | None = None,
) -> Endpoints:
    """Connect to the endpoints that serve a model.

    Args:
        urls: of the endpoints.
        model: its name in the configuration. A server may know it by that name, or by the path of its files.
        engine: engine arguments; `max_model_len` is the context to use, all others are the servers' matter.
        seeds: the seed tasks; their text shows how many tokens the model makes of the prompts.
        timeout_s: longest time of one try, in seconds.
        enough: tokens that no prompt with its answer exceeds.
        most_at_once: most requests that one endpoint gets at once; default: 256.

    Raises:
        ConfigError: a URL, the key, the model or the context is wrong, or no endpoint can be reached.
    """
    names = [model]
    with contextlib.suppress(ConfigError):  # Its files need not be here.
        names.append(resolve_model(model))
    return await Endpoints.connect(
        urls,
        list(dict.fromkeys(names)),
        context_length=engine.get("max_model_len"),
        enough=enough,
        timeout_s=timeout_s,
        most_at_once=most_at_once,
        sample="\n".join(seed.instruction for seed in seeds[:_SAMPLE_TASKS]),
    )
