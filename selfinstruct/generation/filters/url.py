"""Addresses of web pages that a model made up."""

from __future__ import annotations

import re

from selfinstruct.generation.filters.row import Row
from selfinstruct.novelty import may_hold
from selfinstruct.records import Rejection

_WORDS = frozenset(("http", "https", "www"))
_URL = re.compile(r"\b(?:https?://|www\.)[^\s<>\"'`)\]}]+", re.I)
# Reserved for examples (RFC 2606), and this machine.
_EXAMPLE = re.compile(
    r"(?:https?://)?(?:[\w-]+\.)*(?:example(?:\.\w+)?|localhost|127\.0\.0\.1|[\w-]+\.(?:test|invalid))(?=[/:?#.]|$)",
    re.I,
)
_ABOUT_ADDRESSES = re.compile(r"\b(?:url|link|website|web ?site|web ?page|html|href|http|homepage|domain)s?\b", re.I)


def url(row: Row) -> Rejection | None:
    """Object to an output with an address that neither the instruction nor the input holds.

    Addresses reserved for examples are none, and an instruction that asks for a link may get one. The evidence is the
    address.
    """
    if not may_hold(row.output, _WORDS) or _ABOUT_ADDRESSES.search(row.instruction):
        return None
    question = f"{row.instruction}\n{row.input}"
    addresses = (match[0] for match in _URL.finditer(row.output))
    address = next(
        (text for text in addresses if text.rstrip(".,;:!?") not in question and not _EXAMPLE.match(text)), None
    )
    return None if address is None else Rejection("url", {"url": address[:200]})
