"""Quotas of seeds in prompts, of files (`--seeds domain:healthcare:0.5 --seeds general`) or of categories."""

from __future__ import annotations

import math
from collections.abc import Sequence

from selfinstruct.text import name_and_number


def require_whole(names: Sequence[str]) -> None:
    """Refuse quotas that do not make a whole.

    Args:
        names: of the seed files; those without a quota share what the others leave.

    Raises:
        ValueError: a quota is out of range, or the quotas leave too much or too little.
    """
    quotas = [share for name in names if (share := name_and_number(name)[1]) is not None]
    if any(not 0 < share <= 1 for share in quotas):
        raise ValueError(f"a quota is in (0, 1], as in domain:healthcare:0.5, got {', '.join(names)}")
    total = math.fsum(quotas)
    if len(quotas) == len(names):
        if not math.isclose(total, 1):
            raise ValueError(f"the quotas of all seed files add up to {total:g}, not 1; leave one file without")
    elif total >= 1:
        raise ValueError(f"the quotas add up to {total:g} and leave nothing to the other seed files; lower them")


def of_categories(texts: Sequence[str]) -> dict[str, float]:
    """Return the share of each category that has a quota.

    Args:
        texts: such as `code:0.3`.

    Raises:
        ValueError: a text is no such thing, a category has two quotas, or together they are more than 1.
    """
    quotas: dict[str, float] = {}
    for text in texts:
        category, share = name_and_number(text)
        if share is None or not 0 < share <= 1:
            raise ValueError(f"{text!r} is no quota such as code:0.3, with a share above 0 and at most 1")
        if category in quotas:
            raise ValueError(f"the category {category!r} has two quotas; leave one out")
        quotas[category] = share
    if (total := math.fsum(quotas.values())) > 1 + 1e-9:
        raise ValueError(f"the quotas add up to {total:g}; they may add up to 1")
    return quotas
