"""Read the JSON files that the stages leave behind. However one is damaged, the error is the same kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from selfinstruct.errors import InputError

Content = TypeVar("Content")


def read_stored(
    path: Path,
    content: type[Content],
    *,
    remedy: str,
    upgrade: Callable[[Any], Any] = lambda value: value,
    strict: bool = True,
) -> Content:
    """Return the content of a JSON file.

    Args:
        path: the file.
        content: the type of the content.
        remedy: the end of the error's message: what writes the file again.
        upgrade: turns the JSON value of an earlier version into one of this version.
        strict: whether a value of another type is an error even if it can be converted, such as "1" to a number.

    Raises:
        InputError: the file cannot be read, or does not have this content.
    """
    try:
        return msgspec.convert(upgrade(json.loads(path.read_bytes())), content, strict=strict)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; {remedy}") from error
    except (ValueError, RecursionError) as error:  # msgspec.ValidationError is a ValueError.
        raise InputError(f"{path} is damaged: {error}; {remedy}") from error
