"""The share of rows with one tag: `category=coding:0.3`."""

from __future__ import annotations

from typing import NamedTuple

from selfinstruct.records import TAG_VALUES
from selfinstruct.text import name_and_number


class TagQuota(NamedTuple):
    """The share of the rows whose tag of one kind has one value; `share` is in (0, 1]."""

    kind: str
    value: str
    share: float


def parse(text: str) -> TagQuota:
    """Return the quota that a text means.

    Raises:
        ValueError: it means none.

    >>> parse("category=coding:0.3")
    TagQuota(kind='category', value='coding', share=0.3)
    """
    name, share = name_and_number(text)
    kind, _, value = name.partition("=")
    if share is None or not 0 < share <= 1:
        raise ValueError(f"{text!r} is no quota such as category=coding:0.3, with a share above 0 and at most 1")
    if kind not in TAG_VALUES:
        raise ValueError(f"{text!r}: there is no tag {kind!r}; take {', '.join(TAG_VALUES)}")
    if value not in TAG_VALUES[kind]:
        known = "codes of two letters" if kind == "language" else ", ".join(TAG_VALUES[kind])
        raise ValueError(f"{text!r}: {kind} is never {value!r}; take one of: {known}")
    return TagQuota(kind, value, share)


def parse_all(texts: tuple[str, ...]) -> tuple[TagQuota, ...]:
    """Return the quotas that texts mean: of one kind of tag, each value once, together at most 1.

    Raises:
        ValueError: one means none, or they do not fit together.
    """
    quotas = tuple(map(parse, texts))
    if len({quota.kind for quota in quotas}) > 1:
        raise ValueError(f"quotas are of one kind of tag, not of {' and '.join(sorted({q.kind for q in quotas}))}")
    if len({quota.value for quota in quotas}) < len(quotas):
        raise ValueError("a value has two quotas; leave one out")
    if (total := sum(quota.share for quota in quotas)) > 1 + 1e-9:
        raise ValueError(f"the quotas add up to {total:g}; they may add up to 1")
    return quotas
