"""What a journal's header must hold of a run's identity, and of what the engine added to it."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType


class _Regenerate(Struct):
    model: str


class Identity(Struct):
    """What readers need of a header's `identity`. The other values are only compared and shown."""

    model: str
    seeds_sha256: str
    filters: dict[str, Any]
    proposal: dict[str, Any]
    classification: dict[str, Any]
    instances: dict[str, Any]
    engine: dict[str, Any]
    earlier_sha256: str | UnsetType = UNSET
    regenerate: _Regenerate | UnsetType = UNSET


class _ResolvedRegenerate(Struct):
    style: str


class Resolution(Struct):
    """What readers need of a header's `resolved`."""

    style: str
    context_length: int
    regenerate: _ResolvedRegenerate | UnsetType = UNSET
