"""Answers as a real model gives them, for an engine whose weights are random: how long they are, and what they say."""

from __future__ import annotations

import random
from dataclasses import replace

from selfinstruct.engines.base import Request

_VERBS = "Describe Count List Sort Explain Compare Rewrite Shorten Translate Invent Rank Check".split()
_SYLLABLES = "ka lo mi ren tu sa vel dor pi nak bi fo gul he jor".split()
_TOKENS = {"proposal": (210, 0.35), "instances": (110, 0.8)}
"""Median and log-normal spread of the tokens of an answer, by kind of request."""
_RUNAWAYS = 0.05
"""Share of answers that go on until they are cut off."""
_ACCEPTED = 3
"""New instructions in each proposal of eight; the others are near-duplicates."""


def _draw(request: Request) -> random.Random:
    return random.Random(request.key)


def shortened(request: Request) -> Request:
    """Return the request with a limit drawn for it, at which the engine will stop."""
    kind = request.key.partition("/")[0]
    if kind not in _TOKENS or request.choices:
        return request
    draw = _draw(request)
    most = request.sampling.max_tokens
    median, spread = _TOKENS[kind]
    tokens = most if draw.random() < _RUNAWAYS else min(most, max(1, round(median * draw.lognormvariate(0, spread))))
    return replace(request, sampling=request.sampling.model_copy(update={"max_tokens": tokens}))


def text(request: Request) -> str | None:
    """Return what the answer says; None: what the engine said."""
    kind = request.key.partition("/")[0]
    draw = _draw(request)
    if kind == "proposal":
        new = [_instruction(draw) for _ in range(_ACCEPTED)]
        items = [new[min(k, _ACCEPTED - 1)] for k in range(8)]
        first = str(request.prompt).count("\nTask ")
        return "".join(f"{f'Task {first + k}:' if k else ''} {item}\n" for k, item in enumerate(items))
    if kind == "instances":
        given, said = _word(draw), _word(draw)
        if "\nLabel: " in str(request.prompt):
            return f"Label: {said}\nInput: {given}\n"
        return f"Example 1\nInput: {given}\nOutput: {said}\n"
    return None


def _instruction(draw: random.Random) -> str:
    return " ".join([draw.choice(_VERBS), *(_word(draw) for _ in range(draw.randint(6, 16)))]) + "."


def _word(draw: random.Random) -> str:
    return "".join(draw.choices(_SYLLABLES, k=draw.randint(2, 4)))
