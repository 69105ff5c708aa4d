"""Further forms of an exported dataset: Parquet for the Hub's viewer and TRL's command line, records for Argilla.

dataset/data/train-00000-of-00001.parquet        the splits under the names that `datasets` finds by itself:
dataset/data/validation-00000-of-00001.parquet   validation_seen
dataset/data/test-00000-of-00001.parquet         validation_unseen
dataset/argilla.jsonl                            the training rows as records with suggestions
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from selfinstruct.formats import jsonl
from selfinstruct.formats.exported_rows import ExportedRow
from selfinstruct.records import SEEN, TRAIN, UNSEEN
from selfinstruct.run.folders import DatasetDirectory

PARQUET_SPLITS = {TRAIN: "train", SEEN: "validation", UNSEEN: "test"}
"""Names of the splits that `datasets`, the Hub's viewer and TRL's `--dataset_test_split test` know."""
Rows = dict[str, list[ExportedRow]]


def write_parquet(dataset: DatasetDirectory, rows: Rows, _: str) -> None:
    """Write the splits as Parquet; a split without rows has no file.

    Args:
        dataset: folder of the dataset.
        rows: rows by split.
        _: the generator, which this format does not name.
    """
    import pyarrow as pa
    from pyarrow import parquet

    message = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string()), ("thinking", pa.string())]))
    texts = ("id", "instruction", "input", "output", "thinking", "constraints", "origin")
    schema = pa.schema(
        [(name, pa.string()) for name in texts]
        + [("is_classification", pa.bool_())]
        + [(name, message) for name in ("prompt", "completion", "messages")]
    )
    for split, name in PARQUET_SPLITS.items():
        path = dataset.parquet(name)
        path.unlink(missing_ok=True)
        if rows[split]:
            path.parent.mkdir(exist_ok=True)
            beside = path.with_name(f".{path.name}.tmp")
            parquet.write_table(pa.Table.from_pylist([_cells(row) for row in rows[split]], schema=schema), beside)
            beside.replace(path)


def _cells(row: ExportedRow) -> dict[str, Any]:
    """Return the cells of a row. The parameters of constraints have many types, so they are JSON."""
    cells = row.to_json()
    if "constraints" in cells:
        cells["constraints"] = json.dumps(cells["constraints"], ensure_ascii=False)
    return cells


def write_argilla(dataset: DatasetDirectory, rows: Rows, generator: str) -> None:
    """Write the training rows as Argilla's records (`Dataset.records.from_json` reads them as one list).

    Fields are `instruction` and `input`; the model's `output` and `is_classification` are suggestions, so that people
    correct them instead of writing them.

    Args:
        dataset: folder of the dataset.
        rows: rows by split.
        generator: the model that suggests the answers.
    """
    records = [argilla_record(row, generator) for row in rows[TRAIN]]
    jsonl.write(dataset.argilla, records)


def argilla_record(row: ExportedRow, generator: str) -> dict[str, Any]:
    """Return a row as a record of Argilla 2.

    Args:
        row: the row.
        generator: name of the model that wrote it; rows of seed tasks have people as their agent.
    """
    agent = "people" if row.origin == "seed" else generator
    suggested = {"output": row.output, "is_classification": "yes" if row.is_classification else "no"}
    return {
        "id": row.id,
        "fields": {"instruction": row.instruction, "input": row.input},
        "metadata": {"origin": row.origin},
        "suggestions": {name: {"value": value, "score": None, "agent": agent} for name, value in suggested.items()},
        "responses": {},
        "vectors": {},
    }


_WRITERS: dict[str, Callable[[DatasetDirectory, Rows, str], None]] = {
    "parquet": write_parquet,
    "argilla": write_argilla,
}


def write_further(dataset: DatasetDirectory, rows: Rows, formats: Sequence[str], generator: str) -> None:
    """Write the forms that were asked for; remove files of the others, which would be of an earlier export.

    Args:
        dataset: the exported dataset.
        rows: by split.
        formats: names of the forms.
        generator: name of the model that wrote the rows.
    """
    for path in _files(dataset):
        path.unlink(missing_ok=True)
    for name in formats:
        _WRITERS[name](dataset, rows, generator)


def _files(dataset: DatasetDirectory) -> Iterable[Path]:
    return (*(dataset.parquet(name) for name in PARQUET_SPLITS.values()), dataset.argilla)
