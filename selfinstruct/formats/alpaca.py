"""Stanford Alpaca: one JSON array of `{"instruction", "input", "output"}`.

[
  {"instruction": "Name the capital.", "input": "Kenya", "output": "Nairobi"},
  ...
]
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from selfinstruct.formats import jsonl


def write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write exported rows as Alpaca JSON."""
    jsonl.write_json(path, [{name: row[name] for name in ("instruction", "input", "output")} for row in rows])
