"""Hashes of texts: an order and a draw that depend on the texts alone, whatever else is in a run."""

from __future__ import annotations

import hashlib


def digest(text: str) -> bytes:
    """Return the SHA-256 of a text, which may hold lone surrogates."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def share(text: str) -> float:
    """Return a number in [0, 1) that is always the same for a text, to draw by."""
    return int.from_bytes(digest(text)[:8], "big") / 2**64
