"""Completions that are longer than any that a model writes: a broken engine or server must not fill the journal."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import structs

from selfinstruct.records import Completion
from selfinstruct.run.lines import Failure
from selfinstruct.text_hash import digest

_LEAST_BOUND = 65_536
"""Characters that a completion may always have."""
_KEPT = 1000
"""Characters kept of a completion that is too long."""


@dataclass(frozen=True, slots=True)
class TooLong:
    """What the journal keeps of a completion that is too long: its beginning, and the failure."""

    kept: Completion
    failure: Failure


def beginning_of_too_long(completion: Completion, max_tokens: int) -> TooLong | None:
    """Return what to keep of a completion longer than any that a model writes in `max_tokens`; else None.

    64 characters a token is sixteen times ordinary text. The journal keeps the beginning and a hash.
    """
    most = max(_LEAST_BOUND, 64 * max_tokens)
    length = max(len(sample.text) for sample in completion.samples)
    if length <= most:
        return None
    text = "".join(sample.text for sample in completion.samples)
    sha256 = digest(text).hex()
    detail = f"{length:,} characters, of which {_KEPT:,} are kept; at most {most:,} are read; sha256 {sha256}"
    kept = structs.replace(completion, text=completion.text[:_KEPT], further=())
    return TooLong(kept, Failure("completion_too_long", detail))
