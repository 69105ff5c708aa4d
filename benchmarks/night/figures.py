"""What a step measured: it is written at once, so that a step which hangs or dies later has still reported it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

FIGURES = "GPU_NIGHT_FIGURES"
"""Environment variable with the path of the file."""


def report(**figures: Any) -> None:
    """Add figures of the step that this process runs."""
    rounded = {name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()}
    with Path(os.environ[FIGURES]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(rounded) + "\n")


def read(path: Path) -> dict[str, Any]:
    """Return all figures that were reported; a later one replaces an earlier one of the same name."""
    found: dict[str, Any] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n"):  # The process may have been killed while it wrote.
                found |= json.loads(line)
    return found
