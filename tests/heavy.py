"""Modules that take seconds to import: a process that collects tests pays only for those that it runs."""

from __future__ import annotations

import importlib
from typing import Any


class Heavy:
    """A module that is imported when something of it is used first.

    >>> Heavy("json").dumps([1])
    '[1]'
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # pytest looks for its own marks in everything that it collects.
            raise AttributeError(name)
        return getattr(importlib.import_module(self._name), name)
