"""Task files of an evaluation in three formats: seed schema, Self-Instruct's user-oriented tasks, SuperNI.

The content of a file shows its format. A folder holds task files of Super-NaturalInstructions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfinstruct import packaged
from selfinstruct.errors import InputError
from selfinstruct.formats import data_files, seed_tasks
from selfinstruct.formats.families import super_natural_instructions
from selfinstruct.formats.families.super_natural_instructions import BenchmarkTask
from selfinstruct.formats.problems import MOST_PROBLEMS
from selfinstruct.records import SeedTask, WrittenBy
from selfinstruct.text import capped


@dataclass(frozen=True, slots=True)
class EvaluationText:
    """The text of an evaluation task, which training data must not hold: its instruction, and each of its inputs."""

    task: str
    instruction: str
    inputs: tuple[str, ...] = ()


Skip = Callable[[InputError], Any]
"""Is given the error of a file that is left out."""


def load_evaluation_tasks(
    name: str, skip: Skip | None = None, left_out: Counter[str] | None = None
) -> Sequence[SeedTask | BenchmarkTask]:
    """Read the tasks of one name in `evaluate.tasks`.

    Args:
        name: a file, a folder of Super-NaturalInstructions task files or of another dataset, the name of a dataset on
            the Hub, or of a packaged file or domain.
        skip: called with the error of each broken file of a folder, which is left out; None: such a file is an error.
        left_out: counts what of a dataset is no task, by what it is.

    Raises:
        InputError: the file is missing, holds no task, or is not valid. All broken files of a folder are named.
    """
    path = packaged.resolve(name, "eval_tasks.jsonl")
    if path.is_dir() and any(map(super_natural_instructions.is_task_file, _json_files(path))):
        return _folder(path, skip)
    if path.is_file() and super_natural_instructions.is_task_file(path):
        return [super_natural_instructions.read_task_file(path)]
    if path.is_file() and _is_user_oriented(path):
        return seed_tasks.load_seed_tasks([path], as_seed=_user_oriented, author="person")
    author: WrittenBy = "person" if packaged.is_packaged(name) else "unknown"
    return seed_tasks.load_seed_tasks([path], left_out=left_out, author=author)


def _json_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if super_natural_instructions.is_json_file(path))


def _folder(path: Path, skip: Skip | None) -> list[BenchmarkTask]:
    files = _json_files(path)
    tasks, errors = [], []
    for file in files:
        try:
            tasks.append(super_natural_instructions.read_task_file(file))
        except InputError as error:
            errors.append(error)
    if errors and (skip is None or not tasks):
        said = "\n".join(capped([str(error) for error in errors], MOST_PROBLEMS))
        raise InputError(
            f"{path}: {len(errors)} of {len(files)} task files cannot be read; correct them, or leave them out with "
            f"--evaluate.skip-broken:\n{said}"
        )
    for broken in errors:
        skip(broken)  # type: ignore[misc]  # None is refused above.
    return tasks


def _is_user_oriented(path: Path) -> bool:
    try:
        first = next(data_files.records(path), None)
    except InputError:
        return False
    return first is not None and {"motivation_app", "instances"} <= (first.value or {}).keys()


def _user_oriented(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of `user_oriented_instructions.jsonl` in the seed schema.

    Its category is the application that it was written for. No task counts as classification: the file does not say.
    """
    return {"is_classification": False, "category": row.get("motivation_app", "")} | row


def load_evaluation_texts(names: Sequence[str], skip: Skip | None = None) -> list[EvaluationText]:
    """Return the texts of all tasks of these names. Training data must not be similar to them.

    Args:
        names: as in `evaluate.tasks`.
        skip: called with the error of each file that is left out; None: such a file is an error.

    Raises:
        InputError: as `load_evaluation_tasks`, without `skip`.
    """
    tasks: list[SeedTask | BenchmarkTask] = []
    for name in names:
        try:
            tasks += load_evaluation_tasks(name, skip)
        except InputError as error:
            if skip is None:
                raise
            skip(error)
    return [
        EvaluationText(
            task.id,
            task.definition if isinstance(task, BenchmarkTask) else task.instruction,
            tuple(instance.input for instance in task.instances if instance.input),
        )
        for task in tasks
    ]
