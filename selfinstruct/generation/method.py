"""`Method`: the options that decide what a run asks and what it accepts."""

from __future__ import annotations

from dataclasses import dataclass

from selfinstruct.config.proposing import Proposal
from selfinstruct.config.schema import (
    Answer,
    Classification,
    Constraints,
    Filters,
    GenerationConfig,
    HowAnswered,
    Instances,
)
from selfinstruct.generation.frame import Frame, load_frame
from selfinstruct.generation.proposers.proposer_draw import Mixture
from selfinstruct.generation.window import first_window, window_at, window_soon
from selfinstruct.records import Style


@dataclass(frozen=True, slots=True)
class Method:
    """The options that decide what a run asks and what it accepts.

    Attributes:
        seed: of every random choice.
        window: least distance between a proposal and the last one that it sees.
        window_soon: the distance that is reached soon, if it grows.
        window_share: the distance late in a run, as a share of the proposals so far; 0: it does not grow.
        proposal: examples and sampling of the step.
        proposers: the ways to propose, with their weights and options.
        classification: likewise.
        instances: likewise.
        answering: when outputs are asked for.
        answer: sampling of the step.
        constraints: which instructions get constraints.
        filters: of instructions and instances.
        max_retries: how often a follow-up is asked again.
        frame: the words of the prompts.
    """

    seed: int
    window: int
    window_soon: int
    window_share: float
    proposal: Proposal
    proposers: Mixture
    classification: Classification
    instances: Instances
    answering: HowAnswered
    answer: Answer
    constraints: Constraints
    filters: Filters
    max_retries: int
    frame: Frame

    @classmethod
    def of(cls, config: GenerationConfig) -> Method:
        """Return the method of a configuration."""
        window = config.window or first_window(config.num_instructions)
        return cls(
            config.seed,
            window,
            config.window_soon or window_soon(window),
            config.window_share,
            config.proposal,
            Mixture.of(config),
            config.classification,
            config.instances,
            config.answering,
            config.answer,
            config.constraints,
            config.filters,
            config.max_retries,
            load_frame(config.prompt_language),
        )

    def answers_separately(self, style: Style) -> bool:
        """Return whether inputs are answered in a step of their own, where a model is prompted in this style."""
        by_another = self.answer.model is not None
        return self.answering == "separate" or (self.answering == "auto" and (style == "chat" or by_another))

    def last_seen(self, n: int) -> int:
        """Return the number of the last proposal whose outcome proposal n sees; a negative number means none.

        Proposals between the two may be in flight at once (see `window.py`).
        """
        return n - window_at(n, self.window, self.window_soon, self.window_share)
