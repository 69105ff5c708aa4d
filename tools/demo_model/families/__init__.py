"""All families of simple tasks, by subject."""

from __future__ import annotations

from tools.demo_model.families import labels, numbers, reading, text, words, writing
from tools.demo_model.families.base import Family

FAMILIES: tuple[Family, ...] = (
    *text.FAMILIES,
    *words.FAMILIES,
    *numbers.FAMILIES,
    *reading.FAMILIES,
    *labels.FAMILIES,
    *writing.FAMILIES,
)
BY_NAME: dict[str, Family] = {family.name: family for family in FAMILIES}

__all__ = ["BY_NAME", "FAMILIES", "Family"]
