"""What a journal's header must hold of a run's identity, and of what the engine added to it; calibrations."""

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
    proposers: dict[str, Any] | UnsetType = UNSET
    answer: dict[str, Any] | UnsetType = UNSET
    constraints: dict[str, Any] | UnsetType = UNSET
    scores: dict[str, Any] | UnsetType = UNSET
    plan: dict[str, Any] | UnsetType = UNSET
    template: dict[str, Any] | UnsetType = UNSET
    earlier_sha256: str | UnsetType = UNSET
    regenerate: _Regenerate | UnsetType = UNSET


class _ResolvedRegenerate(Struct):
    style: str


class Resolution(Struct):
    """What readers need of a header's `resolved`."""

    style: str
    context_length: int
    regenerate: _ResolvedRegenerate | UnsetType = UNSET


class Calibration(Struct, frozen=True):
    """What the log-odds of a yes-or-no question say about texts whose answer is known, when the run begins.

    Attributes:
        yes, no: number of texts with this answer.
        share: share of the seeds whose answer is yes; 1 where a seed is one by its nature.
        auc: how often a text with the answer yes has greater log-odds than one with the answer no; 0.5 is chance.
        threshold: least log-odds of a yes; None if the question tells too little to be believed.
    """

    yes: int
    no: int
    share: float
    auc: float
    threshold: float | None
