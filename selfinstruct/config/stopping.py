"""Options that end a generation before its target: saturation, and limits of time, tokens and requests."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field, field_validator

from selfinstruct import clock
from selfinstruct.config.section import Section


class Saturation(Section):
    """When to stop a run that hardly finds new instructions any more."""

    window: int = Field(200, ge=1, description="Number of last proposals that decide.")
    min_acceptance: float = Field(
        0.02, ge=0, le=1, description="Stop when less than this share of the window's candidates is accepted; 0: never."
    )
    max_degenerate: float = Field(
        0.9,
        ge=0,
        le=1,
        description="Stop when more than this share of the window's completions is empty, repeats itself or an earlier "
        "one, or is truncated with nothing accepted from it; 1: never.",
    )


class Limits(Section):
    """When to stop before the target. The same command with a later or larger limit continues the run."""

    finish_by: str | None = Field(
        None,
        description="Deadline: a local time (07:00: the next one) or a date with time (2026-11-25T07:00). Generation "
        "stops proposing in time to finish what was accepted. `run` also keeps time free for export, tuning and "
        "evaluation, shortens the tuning if it must, and says what was cut. Holds for one call.",
    )
    time_limit: str | None = Field(
        None,
        description="Deadline as the time from now: 8h, 90m, 1h30m. If both are given, the earlier one counts. "
        "Holds for one call.",
    )
    max_tokens_total: int | None = Field(
        None,
        ge=1,
        description="Stop the run at this number of completion tokens, early enough to finish what was accepted, "
        "by the lengths so far; a short run with long answers can exceed it. Prompt tokens are not "
        "counted: most are cached prefixes.",
    )
    max_requests: int | None = Field(None, ge=1, description="The same for requests of every kind.")
    min_rows: int = Field(
        32,
        ge=1,
        description="After a generation that stopped early, `run` tunes if there are at least this many training rows.",
    )

    @field_validator("finish_by", mode="before")
    @classmethod
    def _date_with_time(cls, value: Any) -> Any:
        # YAML has a type for these.
        return value.isoformat() if isinstance(value, datetime) else value

    @field_validator("finish_by")
    @classmethod
    def _is_a_moment(cls, value: str | None) -> str | None:
        clock.earliest(value, None, 0.0)
        return value

    @field_validator("time_limit")
    @classmethod
    def _is_a_duration(cls, value: str | None) -> str | None:
        clock.earliest(None, value, 0.0)
        return value
