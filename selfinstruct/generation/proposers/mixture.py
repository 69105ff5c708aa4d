"""Which proposer makes proposal n: a draw by the weights, seeded by the run and n."""

from __future__ import annotations

import random
from collections.abc import Mapping


def drawn(weights: Mapping[str, float], draw: random.Random) -> str:
    """Return the name of a proposer.

    Args:
        weights: by name; at least one is greater than 0.
        draw: of this choice.
    """
    names = [name for name, weight in weights.items() if weight > 0]
    return draw.choices(names, [weights[name] for name in names])[0]
