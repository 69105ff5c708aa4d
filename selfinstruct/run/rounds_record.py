"""`rounds.json`: the rounds that `selfinstruct iterate` has made; the page of the rounds is drawn from it.

ROUGE-L is in [0, 100]; intervals are two-sided bootstrap intervals.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from selfinstruct.errors import InputError
from selfinstruct.formats import jsonl
from selfinstruct.run.counts import OutputCounts
from selfinstruct.run.scores import Interval

ROUNDS_VERSION = 1


class HeldOut(Struct, frozen=True, kw_only=True):
    """The tuned model's ROUGE-L on the held-out tasks, which are the same in every round."""

    rouge_l: float
    interval: Interval
    n: int
    n_tasks: int


class Gain(Struct, frozen=True, kw_only=True):
    """The difference in held-out ROUGE-L to the best round before.

    `over` is that round's run. `significant` (`shown` in the file): the interval leaves out 0, and there are enough
    tasks for an interval of its confidence.
    """

    over: str
    difference: float
    low: float
    high: float
    significant: bool = field(name="shown")


class SetMean(Struct, frozen=True, kw_only=True):
    """The tuned model's mean ROUGE-L on one set of tasks."""

    rouge_l: float | None = None
    rouge_l_interval: Interval | None = None
    n: int | None = None
    n_tasks: int | None = None


class Round(Struct, frozen=True, kw_only=True):
    """One round that is done.

    Attributes:
        round: its number, from 1.
        run: name of its run directory.
        generator: the model that generated.
        new_instructions: accepted in this round.
        instructions: accepted in this round and its parent runs.
        train_rows: rows of the training split.
        saturated: whether generation ended before its target.
        outputs: counts of the rewritten outputs; None where none are.
        scores: by set of tasks.
        held_out: None where nothing is held out.
        gain: None for the first round, and where nothing is held out.
    """

    round: int
    run: str
    generator: str
    new_instructions: int
    instructions: int
    train_rows: int
    saturated: bool
    outputs: OutputCounts | None
    scores: dict[str, SetMean]
    held_out: HeldOut | None = None
    gain: Gain | None = None


class Rounds(Struct, frozen=True, kw_only=True):
    """`rounds.json`.

    Attributes:
        version: of the format.
        identity: the settings that all rounds share.
        rounds: those that are done.
        best: run of the best round; None before the first is done.
        ended: why no further round is made; None while there may be one.
        verdict: of the best round's evaluation.
    """

    version: int = ROUNDS_VERSION
    identity: dict[str, Any]
    rounds: list[Round] = []
    best: str | None = None
    ended: str | None = None
    verdict: str | None = None


def read_rounds(path: Path) -> Rounds:
    """Return what `write_rounds` wrote.

    Raises:
        InputError: the file is damaged.
    """
    try:
        return msgspec.convert(json.loads(path.read_bytes()), Rounds)
    except (OSError, ValueError) as error:  # A validation error is a ValueError.
        raise InputError(f"{path}: cannot be read: {error}; restore it, or start again with --overwrite") from error


def write_rounds(path: Path, rounds: Rounds) -> None:
    """Write `rounds.json`, all or nothing."""
    jsonl.write_json(path, msgspec.to_builtins(rounds))
