"""The answers that a request allows, as tokens: how an engine restricts a model to them, and what it thinks of each.

Only the first token in which the choices differ is asked for. That costs one token, and needs no compiled grammar,
which takes 25 s on CPU.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any


@dataclass(frozen=True, slots=True)
class Choices:
    """The choices of a request.

    Attributes:
        by_token: the choice for each first token in which they differ, in the order of the choices.
        shared: tokens that all of them begin with; they go to the end of the prompt.
    """

    by_token: dict[int, str]
    shared: list[int]

    @classmethod
    def of(cls, tokenizer: Any, choices: tuple[str, ...]) -> Choices | None:
        """Return the choices as tokens; None where one of them begins with all tokens of another.

        A tokenizer without a token for a word spells it, in bytes or in letters, so that "हाँ" and "नहीं" may begin
        alike. Another splits off the space where a text begins. Inside a text it does not, so that this token is left
        out.

        Args:
            tokenizer: of transformers.
            choices: at least two texts.
        """
        spelt = [list(tokenizer(choice, add_special_tokens=False).input_ids) for choice in choices]
        alike = (len(set(tokens)) == 1 for tokens in zip(*spelt, strict=False))
        shared = spelt[0][: sum(takewhile(bool, alike))]
        by_token = {ids[len(shared)]: c for ids, c in zip(spelt, choices, strict=True) if len(ids) > len(shared)}
        if len(by_token) < len(choices):
            return None
        return cls(by_token, shared if shared and tokenizer.decode(shared).strip() else [])

    def logprobs(self, of_tokens: Mapping[int, Any]) -> dict[str, float] | None:
        """Return the log-probability of each choice; None where one is not known.

        Four digits say more than the engine's own noise, and the journal keeps these numbers.

        Args:
            of_tokens: vLLM's `Logprob` by token.
        """
        values = {c: float(of_tokens[token].logprob) for token, c in self.by_token.items() if token in of_tokens}
        known = len(values) == len(self.by_token) and all(map(math.isfinite, values.values()))
        return {choice: round(value, 4) for choice, value in values.items()} if known else None
