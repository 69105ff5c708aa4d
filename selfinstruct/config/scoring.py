"""What is said about the rows of a run: scores (`rate`), which rows stay by them (`scores`), and tags (`tag`)."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from selfinstruct.config.section import Section, Urls

ScorerName = Literal["judge", "reward", "consistency", "verified"]


class Rate(Section):
    """Scoring the answers of a run (`selfinstruct rate`)."""

    scorer: ScorerName = Field(
        "judge",
        description="A model's grade from 1 to 5 (`judge`), a `reward` model's logit, the share of the other samples "
        "that say the same (`consistency`, short answers only), or the share of its constraints that it keeps "
        "(`verified`).",
    )
    model: str | None = Field(
        None,
        min_length=1,
        description="Model that scores: a path, or a name on the Hub. Default: the generator; a reward model is named.",
    )
    endpoint: Urls = Field(
        (), description="OpenAI-compatible URLs that serve the judge, instead of vLLM here. Repeatable."
    )
    rubric: str | None = Field(
        None,
        min_length=1,
        description="Text file that says what makes an answer good. Default: correct, complete, clear, not padded.",
    )

    after_generation: bool = Field(
        False,
        description="`run` rates as soon as generation has ended. It does so in any case where rows are chosen by "
        "scores (`scores`, `answer.keep: best`).",
    )

    beside: bool = Field(
        False,
        description="`generate` and `run` rate answers while others are generated: by the generator itself, by a judge "
        "at an endpoint, or by a reward model that is loaded beside it.",
    )

    @model_validator(mode="after")
    def _fits_the_scorer(self) -> Rate:
        if self.beside and self.scorer == "judge" and self.model is not None and not self.endpoint:
            raise ValueError(
                f"vLLM loads no second model beside the generator: serve {self.model!r} and give its URL as "
                "rate.endpoint, or use after_generation instead of beside"
            )
        if self.scorer == "reward" and self.model is None:
            raise ValueError("a reward model has no default; name one in rate.model")
        if self.scorer in ("consistency", "verified") and self.model is not None:
            raise ValueError(f"{self.scorer} asks no model; leave out rate.model")
        if self.scorer != "judge" and (self.endpoint or self.rubric):
            raise ValueError(f"endpoint and rubric are the judge's; leave them out, or set scorer to judge, not {self}")
        return self

    def __str__(self) -> str:
        return self.scorer


class Tag(Section):
    """Saying what each task of a run is about (`selfinstruct tag`)."""

    model: str | None = Field(
        None, min_length=1, description="Model that tags: a path, or a name on the Hub. Default: the generator."
    )
    endpoint: Urls = Field(
        (), description="OpenAI-compatible URLs that serve this model, instead of vLLM here. Repeatable."
    )
    after_generation: bool = Field(False, description="`run` tags as soon as generation has ended.")


_BOUND = re.compile(r"-?\d+(\.\d+)?|\d{1,2}(\.\d+)?%")


def _checked(value: str) -> str:
    if not _BOUND.fullmatch(value):
        raise ValueError(f"{value!r} is neither a score, such as 3.5, nor a share of the inputs, such as 20%")
    return value


Bound = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if isinstance(value, int | float) else value),
    AfterValidator(_checked),
]
"""A score, or the share of the inputs that lie below it: `3.5`, `20%`."""


class Scores(Section):
    """Which inputs keep their answers by the scores of these; those without a score stay."""

    scorer: ScorerName | None = Field(None, description="Whose scores decide; default: the scorer that began last.")
    min_best: Bound | None = Field(
        None,
        description="Reject the answers to an input whose best score is less: a score, or the share of the inputs that "
        "are to go (20%). With one answer to each input that is its score.",
    )
    min_worst: Bound | None = Field(None, description="Likewise, whose worst score is less.")
    max_spread: Bound | None = Field(
        None, description="Likewise, whose best and worst score are farther apart; a share (80%) is that which stays."
    )

    @property
    def any_bound(self) -> bool:
        """Whether anything is rejected by its score."""
        return any(bound is not None for bound in (self.min_best, self.min_worst, self.max_spread))
