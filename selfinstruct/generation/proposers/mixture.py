"""The proposers of a run, and which of them makes proposal n: a draw by the weights, seeded by the run and n."""

from __future__ import annotations

import random
from dataclasses import dataclass

from selfinstruct.config.schema import Config, Evolve, Plan, Proposal, Proposers, Template
from selfinstruct.generation.proposers.topics import Topics, load_topics
from selfinstruct.generation.proposers.wording import Wording, load_wording


@dataclass(frozen=True, slots=True)
class Mixture:
    """The ways to propose.

    Attributes:
        weights: of each proposer.
        listing: options of `list`.
        plan: options of `plan`.
        evolve: options of `evolve`.
        template: options of `template`.
        wording: the words of `plan`, `evolve` and topics; None where none of them is used.
        topics: what the proposals are about; None: anything.
    """

    weights: Proposers
    listing: Proposal
    plan: Plan
    evolve: Evolve
    template: Template
    wording: Wording | None
    topics: Topics | None = None

    @classmethod
    def of(cls, config: Config) -> Mixture:
        """Return the mixture of a configuration.

        Raises:
            ConfigError: a proposer is used that is not written in the language of the prompts.
            InputError: the topics cannot be read.
        """
        topics = load_topics(config.topics) if config.topics else None
        worded = config.proposers.plan or config.proposers.evolve or topics
        wording = load_wording(config.prompt_language) if worded else None
        return cls(config.proposers, config.proposal, config.plan, config.evolve, config.template, wording, topics)

    @property
    def used(self) -> list[str]:
        """Names of the proposers that have a weight."""
        return [name for name, weight in self.weights.weights.items() if weight > 0]

    def drawn(self, draw: random.Random) -> str:
        """Return the name of a proposer.

        Args:
            draw: of this choice.
        """
        weights = self.weights.weights
        return draw.choices(self.used, [weights[name] for name in self.used])[0]
