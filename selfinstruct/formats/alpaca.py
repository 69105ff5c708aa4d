"""Stanford Alpaca: one JSON array of `{"instruction", "input", "output"}`.

[
  {"instruction": "Name the capital.", "input": "Kenya", "output": "Nairobi"},
  ...
]
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from selfinstruct.formats import jsonl
from selfinstruct.formats.exported_rows import ExportedRow


def write(path: Path, rows: Iterable[ExportedRow]) -> None:
    """Write exported rows as Alpaca JSON, atomically."""
    jsonl.write_json(path, [{"instruction": row.instruction, "input": row.input, "output": row.output} for row in rows])
