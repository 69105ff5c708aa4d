"""The requests of each kind, and the tokens that they took."""

from __future__ import annotations

from msgspec import Struct

KINDS = ("proposal", "is_task", "classification", "instances", "answer", "output", "score", "tags")
"""Kinds of requests, in the order in which an instruction meets them."""


class Usage(Struct):
    """The number of requests of one kind by outcome, and of their tokens."""

    committed: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def requests(self) -> int:
        """Return the number of requests, failed ones included."""
        return self.committed + self.failed


def usage_by_kind() -> dict[str, Usage]:
    """Return no requests of each kind."""
    return {kind: Usage() for kind in KINDS}
