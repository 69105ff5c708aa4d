"""`rounds.json`: the rounds that `selfinstruct iterate` has made. The page of the rounds shows its content.

ROUGE-L is in [0, 100]. Intervals are two-sided bootstrap intervals.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from selfinstruct.formats import jsonl
from selfinstruct.run.counts import OutputCounts
from selfinstruct.run.scores import Interval
from selfinstruct.run.stored import read_stored

ROUNDS_VERSION = 1


class HeldOut(Struct, frozen=True, kw_only=True):
    """The tuned model's ROUGE-L on the held-out tasks. These tasks are the same in every round."""

    rouge_l: float
    interval: Interval
    n: int
    n_tasks: int


class Gain(Struct, frozen=True, kw_only=True):
    """The difference in held-out ROUGE-L to the best round before.

    Attributes:
        over: name of that round's run.
        difference: in points of ROUGE-L.
        low: low end of its interval.
        high: high end of its interval.
        significant: whether the interval excludes 0 and there are enough tasks for its confidence; `shown` in the file.
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
    """One finished round.

    Attributes:
        round: its number, from 1.
        run: name of its run directory.
        generator: the model that generated.
        new_instructions: number of instructions accepted in this round.
        instructions: number of instructions accepted in this round and its parent runs.
        train_rows: number of rows in the training split.
        saturated: whether generation ended before its target.
        outputs: counts of the rewritten outputs; None if no outputs are rewritten.
        scores: scores by set of tasks.
        held_out: score on the held-out tasks; None if no tasks are held out.
        gain: gain over the best round before; None for the first round, and if no tasks are held out.
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
    """The content of `rounds.json`.

    Attributes:
        version: version of the format.
        identity: the settings that all rounds share.
        rounds: the finished rounds.
        best: run of the best round; None before the first round is finished.
        ended: why no further round is made; None while there may be one.
        verdict: verdict of the best round's evaluation.
    """

    version: int = ROUNDS_VERSION
    identity: dict[str, Any]
    rounds: list[Round] = []
    best: str | None = None
    ended: str | None = None
    verdict: str | None = None


def read_rounds(path: Path) -> Rounds:
    """Read what `write_rounds` wrote.

    Raises:
        InputError: the file is missing or damaged.
    """
    return read_stored(path, Rounds, remedy="restore it, or start again with --overwrite")


def write_rounds(path: Path, rounds: Rounds) -> None:
    """Write `rounds.json` atomically."""
    jsonl.write_json(path, msgspec.to_builtins(rounds))
