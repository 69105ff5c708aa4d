"""The proposers of a run, and which of them makes proposal n: a draw by the weights, seeded by the run and n."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from selfinstruct.config.proposing import Evolve, Plan, Proposal, Proposers, SingleStep, Template
from selfinstruct.config.schema import GenerationConfig
from selfinstruct.generation.proposers.earnings import Earned
from selfinstruct.generation.proposers.topics import Topics, load_topics
from selfinstruct.generation.proposers.wording import Wording, load_wording

_FLOOR = 0.1
"""Share of the draws that the weights decide in any case."""
_PRIOR_TOKENS = 200


@dataclass(frozen=True, slots=True)
class Mixture:
    """The ways to propose.

    Attributes:
        weights: of each proposer.
        listing: options of `list`.
        plan: options of `plan`.
        evolve: options of `evolve`.
        template: options of `template`.
        single_step: options of `single_step`.
        wording: the words of `plan`, `evolve`, `single_step` and topics; None where none of them is used.
        topics: what the proposals are about; None: anything.
        adaptive: whether what the proposers earned decides most draws.
    """

    weights: Proposers
    listing: Proposal
    plan: Plan
    evolve: Evolve
    template: Template
    single_step: SingleStep
    wording: Wording | None
    topics: Topics | None = None
    adaptive: bool = False

    @classmethod
    def of(cls, config: GenerationConfig) -> Mixture:
        """Return the mixture of a configuration.

        Raises:
            InputError: the topics cannot be read.
        """
        topics = load_topics(config.topics) if config.topics else None
        used = config.proposers
        worded = used.plan or used.evolve or used.single_step or topics
        return cls(
            used,
            config.proposal,
            config.plan,
            config.evolve,
            config.template,
            config.single_step,
            load_wording(config.prompt_language) if worded else None,
            topics,
            adaptive=config.proposer_weights == "adaptive",
        )

    @property
    def used(self) -> list[str]:
        """Names of the proposers that have a weight."""
        return [name for name, weight in self.weights.weights.items() if weight > 0]

    def drawn(self, draw: random.Random, earned: Mapping[str, Earned] | None = None) -> str:
        """Return the name of a proposer: drawn by the weights, or mostly by what the proposers earned.

        Of each proposer a rate of rows per token is drawn from what is known of its rate (Thompson sampling, with a
        gamma prior of one row in 200 tokens), and the greatest wins. One draw in ten is by the weights, so that none
        dies out.

        Args:
            draw: of this choice.
            earned: by proposer; without any the weights decide.
        """
        if earned and draw.random() >= _FLOOR:
            known = {name: earned.get(name, Earned()) for name in self.used}
            rates = {name: draw.gammavariate(e.rows + 1, 1 / (e.tokens + _PRIOR_TOKENS)) for name, e in known.items()}
            return max(rates, key=rates.__getitem__)
        weights = self.weights.weights
        return draw.choices(self.used, [weights[name] for name in self.used])[0]
