"""Task files of an evaluation in three formats: seed schema, Self-Instruct's user-oriented tasks, SuperNI.

The content of a file shows its format. A folder holds task files of Super-NaturalInstructions.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from selfinstruct import packaged
from selfinstruct.errors import InputError
from selfinstruct.formats import jsonl, seed_tasks, self_instruct, super_natural_instructions
from selfinstruct.formats.super_natural_instructions import BenchmarkTask
from selfinstruct.records import SeedTask


def load_evaluation_tasks(name: str) -> Sequence[SeedTask | BenchmarkTask]:
    """Read the tasks of one name in `evaluate.tasks`.

    Args:
        name: a file, a folder of Super-NaturalInstructions task files, or the name of a packaged file.

    Raises:
        InputError: the file is missing, holds no task, or is not valid.
    """
    path = packaged.resolve(name)
    if path.is_dir():
        files = sorted(path.glob("*.json"))
        if not files:
            raise InputError(f"{path}: a folder of evaluation tasks must hold Super-NaturalInstructions files (*.json)")
        return [super_natural_instructions.read(file) for file in files]
    if path.suffix == ".json" and super_natural_instructions.is_task_file(path):
        return [super_natural_instructions.read(path)]
    if path.exists() and _is_user_oriented(path):
        return self_instruct.read_user_oriented(path)
    return seed_tasks.load_seed_tasks([path])


def _is_user_oriented(path: Path) -> bool:
    try:
        first = next(jsonl.read(path), None)
    except InputError:
        return False
    return first is not None and self_instruct.is_user_oriented(first[1])


def instructions(names: Sequence[str]) -> list[str]:
    """Return the instructions of all tasks of these names. Training data must not be similar to them."""
    return [
        t.definition if isinstance(t, BenchmarkTask) else t.instruction
        for name in names
        for t in load_evaluation_tasks(name)
    ]
