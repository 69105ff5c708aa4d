"""`evaluation_tasks.jsonl`: the texts of the evaluation tasks that a run's instructions are kept apart from.

The run keeps them because its decisions follow from them: it goes on and can be refiltered after the files have
changed. The header of the journal holds their fingerprint.

    {"task": "eval_017", "instruction": "Name the capital.", "inputs": ["Kenya", "Peru"]}
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from selfinstruct.errors import InputError
from selfinstruct.formats import jsonl
from selfinstruct.formats.evaluation_tasks import EvaluationText

FINGERPRINT = "evaluation_sha256"
"""Key of the fingerprint in a run's identity; a run that looks at no evaluation task has none."""


def write_evaluation_texts(path: Path, texts: Sequence[EvaluationText]) -> None:
    """Write the texts atomically."""
    jsonl.write(path, map(asdict, texts))


def read_evaluation_texts(path: Path) -> list[EvaluationText]:
    """Read what `write_evaluation_texts` wrote.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        return [EvaluationText(row["task"], row["instruction"], tuple(row["inputs"])) for _, row in jsonl.read(path)]
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged; restore it") from error


def kept_evaluation_texts(path: Path, identity: dict[str, Any]) -> list[EvaluationText]:
    """Return the texts that a run keeps; none for a run that looks at no evaluation task.

    Args:
        path: of the file.
        identity: of the run, from its journal's header.

    Raises:
        InputError: the file is missing, damaged or changed.
    """
    if FINGERPRINT not in identity:
        return []
    texts = read_evaluation_texts(path)
    if fingerprint(texts) != identity[FINGERPRINT]:
        raise InputError(f"{path}: changed since the run began; restore it")
    return texts


def fingerprint(texts: Sequence[EvaluationText]) -> str:
    """Return the SHA-256 of the texts."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(jsonl.dumps([text.task, text.instruction, *text.inputs]).encode() + b"\n")
    return digest.hexdigest()
