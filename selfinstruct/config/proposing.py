"""The options of proposing instructions: the ways to ask, and how each samples."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, field_validator, model_validator

from selfinstruct.config.section import Sampling, Section, as_tuple
from selfinstruct.config.seed_quotas import of_categories

ChatForm = Literal["list", "begun", "turns"]


class Proposal(Sampling):
    """Proposing new instructions (paper, section 2.2 and appendix A.2)."""

    temperature: float = Field(0.7, ge=0, description="Sampling temperature; 0 is greedy.")
    top_p: float = Field(0.5, gt=0, le=1, description="Nucleus sampling: probability mass kept, in (0, 1].")
    presence_penalty: float = Field(
        2.0, ge=-2, le=2, description="Penalty on tokens that are already in the answer, in [-2, 2]."
    )
    max_tokens: int = Field(
        400, ge=1, description="Longest answer, in tokens; eight new instructions of 16 words are about 210."
    )
    num_seed_examples: int = Field(6, ge=0, description="Seed instructions shown in each prompt.")
    num_generated_examples: int = Field(2, ge=0, description="Machine-written instructions shown in each prompt.")
    seed_quota: tuple[str, ...] = Field(
        (),
        description="Share of the seeds in prompts for new tasks that are of a category of the seed files, as "
        "`code:0.3`; the others share what is left. Repeatable; not beside quotas of seed files.",
    )
    num_new: int = Field(8, ge=1, description="New instructions asked for in each prompt.")
    chat_form: ChatForm = Field(
        "list",
        description="How a chat model is shown examples: as a `list` in the user's message, which small models copy; "
        "as a list `begun` in its own turn, or as its answers in earlier `turns`, after which it writes one.",
    )

    _one_or_many = field_validator("seed_quota", mode="before")(as_tuple)

    @field_validator("seed_quota")
    @classmethod
    def _quotas_add_up(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        of_categories(value)
        return value

    @model_validator(mode="after")
    def _some_example(self) -> Proposal:
        if self.num_seed_examples + self.num_generated_examples < 1:
            raise ValueError("num_seed_examples + num_generated_examples must be at least 1")
        return self


class Proposers(Section):
    """Ways to ask for new instructions and their weights: a share of the proposals is weight / sum of weights."""

    list: float = Field(1.0, ge=0, description="Continue a list of instructions (paper, section 2.2).")
    plan: float = Field(
        0.0, ge=0, description="Say what a few tasks of one category share and what a new one needs, then write it."
    )
    evolve: float = Field(
        0.0, ge=0, description="Make an accepted task deeper, more concrete, more constrained, or move its subject."
    )
    template: float = Field(
        0.0,
        ge=0,
        description="Let a chat model write what a user would ask: its chat template up to the user's turn (Magpie).",
    )
    single_step: float = Field(
        0.0, ge=0, description="Write instruction, input and output in one completion (Alpaca); nothing more is asked."
    )

    @model_validator(mode="after")
    def _some_proposer(self) -> Proposers:
        if not any(self.weights.values()):
            raise ValueError("at least one weight must be greater than 0; list: 1 is the default")
        if not math.isfinite(sum(self.weights.values())):
            raise ValueError("the sum of the weights is too large; 1 and 2 say the same as larger ones")
        return self

    @property
    def weights(self) -> dict[str, float]:
        """The weights by name."""
        return self.model_dump()


class _Varied(Sampling):
    """Sampling that varies what is written, and leaves out what is hardly likely."""

    temperature: float = Field(0.8, ge=0, description="Sampling temperature; 0 is greedy.")
    min_p: float = Field(0.05, ge=0, le=1, description=Sampling.model_fields["min_p"].description)


class Plan(_Varied):
    """Planning a new instruction from a few of one category (the proposer `plan`; arXiv 2507.23751)."""

    max_tokens: int = Field(300, ge=1, description="Longest answer with its plan, in tokens.")
    num_examples: int = Field(3, ge=2, description="Most instructions shown in each prompt; at least two.")
    num_generated: int = Field(
        1, ge=0, description="Most of these that are accepted instructions of the category; at least one is a seed."
    )


class Evolve(_Varied):
    """Changing an accepted task into a new one (the proposer `evolve`; Evol-Instruct, arXiv 2304.12244)."""

    max_tokens: int = Field(150, ge=1, description="Longest answer, in tokens.")
    max_depth: int = Field(3, ge=1, description="How often a task is changed, its ancestors' changes included.")


class Template(Sampling):
    """Letting the model write the user's turn (the proposer `template`; Magpie, arXiv 2406.08464)."""

    temperature: float = Field(1.0, ge=0, description="Sampling temperature; 0 is greedy.")
    max_tokens: int = Field(256, ge=1, description="Longest user's turn, in tokens.")
    openings: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the user's turns that begin with a word that begins at least two seeds of one sentence.",
    )
    system: str = Field(
        "", description="System message before the user's turn; empty: the chat template's own, if any."
    )


class SingleStep(_Varied):
    """Writing whole tasks, with input and output (the proposer `single_step`; Alpaca)."""

    max_tokens: int = Field(1024, ge=1, description="Longest answer with all its tasks, in tokens.")
    num_examples: int = Field(3, ge=1, description="Seed tasks shown in each prompt, with an instance each.")
    num_new: int = Field(5, ge=1, description="New tasks asked for in each prompt.")
