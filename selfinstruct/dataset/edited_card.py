"""A dataset's card that the user has edited: the next export keeps its text, and renews what it says of the files."""

from __future__ import annotations

import hashlib

import yaml
from msgspec import UNSET

from selfinstruct.console import console
from selfinstruct.errors import InputError
from selfinstruct.run.export_counts import read_export_counts
from selfinstruct.run.folders import DatasetDirectory


def sha256_of(card: bytes) -> str:
    """Return the digest by which the next export knows whether a card was edited."""
    return hashlib.sha256(card).hexdigest()


def kept_card(dataset: DatasetDirectory, made: str) -> str:
    """Return what the card is to hold: the new one or, where the user has edited the old one, that with new splits.

    Args:
        dataset: the folder, with the card and the counts of the export before.
        made: the new card.
    """
    from huggingface_hub import DatasetCard

    if not dataset.card.is_file() or not _was_edited(dataset, there := dataset.card.read_bytes()):
        return made
    console.print(f"export: {dataset.card} was edited and keeps its text; remove it to get a new one", markup=False)
    text = there.decode("utf-8", "replace")
    try:
        card = DatasetCard(text)
        card.data["configs"] = DatasetCard(made).data["configs"]
        return str(card)
    except (yaml.YAMLError, ValueError, TypeError, AttributeError):
        console.print(f"export: the head of {dataset.card} is not readable YAML; correct it", markup=False)
        return text


def _was_edited(dataset: DatasetDirectory, card: bytes) -> bool:
    """Return whether a card is not as it was written; exports before did not note it."""
    try:
        noted = read_export_counts(dataset.counts_path).card_sha256
    except InputError:
        return False
    return noted is not UNSET and noted != sha256_of(card)
