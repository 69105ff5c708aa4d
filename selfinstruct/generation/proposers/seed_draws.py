"""Draw the seeds of a prompt, so that each file or category of seeds has its quota of them.

With `--seeds domain:healthcare:0.5 --seeds general`, three of six seeds in a prompt are about health. A share that is
no whole number of seeds is rounded up or down at random, so that the mean over the prompts is the share.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from selfinstruct.errors import ConfigError
from selfinstruct.records import Quota, SeedTask


def with_quotas(seeds: Sequence[SeedTask], shares: Mapping[str, float]) -> list[SeedTask]:
    """Return seeds whose categories have these quotas.

    Args:
        seeds: of all files.
        shares: by category; without any, the seeds keep the quotas of their files.

    Raises:
        ConfigError: no seed has such a category, or a file has a quota, too.
    """
    if not shares:
        return list(seeds)
    there = {seed.category for seed in seeds}
    if missing := [category for category in shares if category not in there]:
        known = ", ".join(sorted(there - {""})) or "none"
        raise ConfigError(f"proposal.seed_quota: no seed has the category {missing[0]!r}; there are: {known}")
    if _have_quotas(seeds):
        raise ConfigError("proposal.seed_quota: a seed file has a quota, too; leave one of the two out")
    quotas = {category: Quota(f"category {category}", share) for category, share in shares.items()}
    return [replace(seed, quota=quotas.get(seed.category)) for seed in seeds]


def some(seeds: Sequence[SeedTask], count: int, draw: random.Random) -> list[SeedTask]:
    """Return seeds in random order, of each file its quota: `count` of them, or all if there are fewer.

    Args:
        seeds: to draw from.
        count: how many at most.
        draw: source of randomness.
    """
    if not _have_quotas(seeds):
        return draw.sample(seeds, min(count, len(seeds)))
    return next(_rounds(seeds, count, draw), [])


def one(seeds: Sequence[SeedTask], draw: random.Random) -> SeedTask:
    """Return a seed; each file has its quota of the draws."""
    return some(seeds, 1, draw)[0] if _have_quotas(seeds) else draw.choice(seeds)


def all_of(seeds: Sequence[SeedTask], count: int, draw: random.Random) -> Iterator[SeedTask]:
    """Yield all seeds in random order, of each file its quota in every `count` of them, as far as it reaches.

    Args:
        seeds: to draw from.
        count: seeds in which each file has its quota.
        draw: source of randomness.
    """
    if not _have_quotas(seeds):
        yield from draw.sample(seeds, len(seeds))
        return
    for drawn in _rounds(seeds, count, draw):
        yield from drawn


def _have_quotas(seeds: Sequence[SeedTask]) -> bool:
    return any(seed.quota is not None for seed in seeds)


def _rounds(seeds: Sequence[SeedTask], count: int, draw: random.Random) -> Iterator[list[SeedTask]]:
    """Yield seeds, `count` at a time, until none is left. Where a file's are used up, others take their place."""
    of_quota: dict[Quota | None, list[SeedTask]] = {}
    for seed in seeds:
        of_quota.setdefault(seed.quota, []).append(seed)
    left = {quota: draw.sample(group, len(group)) for quota, group in of_quota.items()}
    rest = max(0.0, 1 - sum(quota.share for quota in left if quota))
    while count and any(left.values()):
        drawn: list[SeedTask] = []
        # Systematic sampling: places between the ends of the shares, all shifted by the same random part of one.
        shift, end, placed = draw.random(), 0.0, 0
        for quota, group in left.items():
            end += count * (quota.share if quota else rest)
            places, placed = math.floor(end + shift) - placed, math.floor(end + shift)
            drawn += group[:places]
            del group[:places]
        for group in left.values():
            missing = count - len(drawn)
            drawn += group[:missing]
            del group[:missing]
        draw.shuffle(drawn)
        yield drawn
