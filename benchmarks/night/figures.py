"""What a step measured: it is written at once, so that a step which hangs or dies later has still reported it."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

FIGURES = "GPU_NIGHT_FIGURES"
"""Environment variable with the path of the file."""


def report(**figures: Any) -> None:
    """Add figures of the step that this process runs."""
    rounded = {name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()}
    with Path(os.environ[FIGURES]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(_finite(rounded)) + "\n")


def read(path: Path) -> tuple[dict[str, Any], str | None]:
    """Return all figures that were reported, and what is wrong with the first line that has none.

    A later figure replaces an earlier one of the same name.
    """
    reported: dict[str, Any] = {}
    wrong = None
    # What follows the last newline is no line: the process may have been killed while it wrote.
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            figures = json.loads(line.decode("utf-8"))
            if not isinstance(figures, dict):
                raise ValueError("not a JSON object")
            reported |= _finite(figures)
        except (ValueError, RecursionError) as error:
            wrong = wrong or f"line {number} of the figures: {error}"
    return reported, wrong


def _finite(value: Any) -> Any:
    """Return the value with None for each NaN and infinity in it, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, list | tuple) else value
