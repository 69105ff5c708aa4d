"""Seed files: load them, and report all their problems at once."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, StrictBool, StrictStr, ValidationError

from selfinstruct.errors import InputError
from selfinstruct.formats import data_files, jsonl
from selfinstruct.formats.data_files import Record
from selfinstruct.formats.families import FAMILIES, PROBED, Broken, DatasetRow, recognise
from selfinstruct.formats.families import rows as family_rows
from selfinstruct.formats.families.dataset_row import ASSISTANT, Turn, as_seed_tasks
from selfinstruct.formats.problems import MOST_PROBLEMS, readable, unfit
from selfinstruct.packaged import PACKAGED, resolve
from selfinstruct.records import Instance, Quota, SeedTask, WrittenBy
from selfinstruct.text import capped, name_and_number


class _InstanceRow(BaseModel):
    model_config = ConfigDict(extra="ignore")
    input: StrictStr = ""
    output: StrictStr


class _TaskRow(BaseModel):
    """The Self-Instruct schema plus `category`, `written_by` and `paraphrases`. Other keys are ignored."""

    model_config = ConfigDict(extra="ignore")
    id: StrictStr
    instruction: StrictStr
    instances: list[_InstanceRow]
    is_classification: StrictBool
    name: StrictStr = ""
    category: StrictStr = ""
    written_by: WrittenBy | None = None
    paraphrases: list[StrictStr] = []


def load_seed_tasks(
    names: Sequence[str | Path],
    *,
    as_seed: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    unfit_datasets: bool = False,
    left_out: Counter[str] | None = None,
    author: WrittenBy = "unknown",
) -> list[SeedTask]:
    """Read the tasks of one or more files, in order: seed tasks, or a dataset of any family, also compressed.

    The rows of a dataset that have the same instruction are the instances of one task.

    Args:
        names: the files, or names of packaged ones; a name may end in `:share`, the quota of its tasks.
        as_seed: turns a row of another format into one of this schema; None: the files have this schema, or are
            datasets.
        unfit_datasets: whether tasks of a dataset may hold characters that no prompt should hold.
        left_out: counts what of the datasets is no task, by what it is.
        author: who wrote the tasks of files that do not say it.

    Raises:
        InputError: lists the problems of all files, each with file, line and field; the first twenty, and how many
            more there are. A file of another format is named as what it is.
    """
    tasks: list[SeedTask] = []
    problems: list[str] = []
    seen: dict[str, str] = {}
    left_out = Counter() if left_out is None else left_out
    for name in names:
        bare, share = name_and_number(name) if isinstance(name, str) else (name, None)
        path, quota = resolve(bare), Quota(str(bare), share) if share else None
        if not path.exists() and not data_files.is_hub_name(path):
            packaged = ", ".join([*PACKAGED, "domain:NAME"])
            raise InputError(f"{path}: no such seed file; give a path, or one of the packaged names: {packaged}")
        before = len(tasks) + len(problems)
        records = list(data_files.records(path))
        if as_seed is None and (of_dataset := _of_dataset(path, records, left_out)) is not None:
            if not unfit_datasets:
                _require_fit(path, of_dataset)
            tasks += [replace(task, quota=quota) for task in of_dataset]
            continue
        for record in records:
            row = (as_seed or dict)(record.value or {})
            row_problems = [record.problem] if record.problem else _problems(row)
            task_id = str(row.get("id"))
            if not row_problems and task_id in seen:
                row_problems = [f"`id`: {task_id!r} is already the id of {seen[task_id]}"]
            problems += [f"{record}: {text}" for text in row_problems]
            if not row_problems:
                seen[task_id] = str(record)
                tasks.append(replace(_task(row, author), quota=quota))
        if len(tasks) + len(problems) == before:
            problems.append(f"{path}: holds no tasks")
    if problems:
        shown = "\n".join(f"  {text}" for text in capped(problems, MOST_PROBLEMS))
        raise InputError(f"{len(problems)} problem(s) in the tasks; correct them and try again:\n{shown}")
    return tasks


def _of_dataset(path: Path, records: Sequence[Record], left_out: Counter[str]) -> list[SeedTask] | None:
    """Return the tasks of a file of another dataset family; None for a file in this schema.

    Raises:
        InputError: its form is that of no family, or a record is broken.
    """
    first = [record.value for record in records if record.value is not None][:PROBED]
    if not first or _of_this_schema(first):
        return None
    if (other := _other_format(first[0])) is not None:
        raise InputError(f"{path}: this is {other}, no file of tasks")
    if not any(family.recognises(value) for value in first for family in FAMILIES):
        return None
    rows = []
    people = any(family.of_people and family.recognises(first[0]) for family in FAMILIES)
    predictions = {"response", "target"} <= first[0].keys()
    for row in family_rows(str(path), iter(records)):
        if isinstance(row, Broken):
            raise InputError(row.problem)
        if isinstance(row, DatasetRow):
            rows.append(_as_a_person_answered(row) if predictions else row)
        else:
            left_out[row.reason] += 1
    if not (tasks := as_seed_tasks(rows, path.name.split(".")[0], left_out)):
        raise InputError(f"{path}: holds no task with an answer")
    return [replace(task, written_by="person") for task in tasks] if people or predictions else tasks


def _of_this_schema(first: Sequence[dict[str, Any]]) -> bool:
    return any("instances" in value and "motivation_app" not in value for value in first)


def dataset_remarks(names: Sequence[str | Path], own: Collection[str] = ()) -> list[str]:
    """Return for each file that is not in this schema as which family of datasets it is read.

    Args:
        names: as `load_seed_tasks` takes them; files that it can read.
        own: names of families of which nothing is said, as files of them are expected.
    """
    remarks = []
    for name in names:
        bare = name_and_number(name)[0] if isinstance(name, str) else name
        first = list(itertools.islice(data_files.records(resolve(bare)), PROBED))
        values = [record.value for record in first if record.value is not None]
        if values and not _of_this_schema(values) and (family := recognise(str(bare), first)).name not in own:
            remarks.append(f"{bare} is no file of seed tasks: it is read as {family.name} ({family.about})")
    return remarks


def _as_a_person_answered(row: DatasetRow) -> DatasetRow:
    """Return a row of a file of predictions with the answer that they are compared with."""
    turns = (*row.turns[:-1], *(Turn(ASSISTANT, text) for text in row.references))
    return replace(row, turns=turns) if row.references else row


def left_out_texts(left_out: Counter[str]) -> list[str]:
    """Return what of datasets is no task as texts for people, the most frequent first."""
    return [f"{count:,} x {what}" for what, count in left_out.most_common()]


def _require_fit(path: Path, tasks: Sequence[SeedTask]) -> None:
    if problems := [f"{path}: task {task.id}: {problem}" for task in tasks for problem in unfit_texts(task)]:
        raise InputError("; ".join([*capped(problems, 3), "`selfinstruct seeds from-dataset` leaves such tasks out"]))


def unfit_texts(task: SeedTask) -> list[str]:
    """Return what is wrong with the characters of a task; empty if prompts can show it."""
    texts = [task.instruction, *(text for i in task.instances for text in (i.input, i.output))]
    return [problem for text in texts for problem in unfit(text)]


_OTHER_FORMATS = (({"instruction_id_list"}, "a file of IFEval"),)
"""Keys of a file's first object, and what it is."""


def _other_format(value: dict[str, Any]) -> str | None:
    """Return what a file is that is read by mistake; None for one that may hold tasks."""
    return next((form for keys, form in _OTHER_FORMATS if keys <= value.keys()), None)


def _task(row: dict[str, Any], author: WrittenBy) -> SeedTask:
    """Return the task of a row; `author` wrote it unless the row says who did."""
    read = _TaskRow.model_validate(row)
    return SeedTask(
        id=read.id,
        instruction=read.instruction.strip(),
        instances=tuple(Instance(i.input.strip(), i.output.strip()) for i in read.instances),
        is_classification=read.is_classification,
        name=read.name,
        category=read.category,
        written_by=read.written_by or author,
        paraphrases=tuple(text.strip() for text in read.paraphrases),
    )


def _problems(row: dict[str, Any]) -> list[str]:
    try:
        read = _TaskRow.model_validate(row)
    except ValidationError as error:
        return [f"`{'.'.join(map(str, e['loc']))}`: {readable(e)}" for e in error.errors()]
    problems = []
    if not read.id.strip():
        problems.append("`id`: is empty")
    if not read.instruction.strip():
        problems.append("`instruction`: is empty; say what the task is")
    if not read.instances:
        problems.append("`instances`: is empty; give at least one {input, output}")
    for k, instance in enumerate(read.instances):
        if not instance.output.strip():
            problems.append(f"`instances.{k}.output`: is empty")
    texts = {name: getattr(read, name) for name in ("id", "name", "category", "instruction")}
    texts |= {f"instances.{k}": i.input + i.output for k, i in enumerate(read.instances)}
    texts |= {f"paraphrases.{k}": text for k, text in enumerate(read.paraphrases)}
    problems += [f"`paraphrases.{k}`: is empty" for k, text in enumerate(read.paraphrases) if not text.strip()]
    return problems + [f"`{name}`: {problem}" for name, text in texts.items() for problem in unfit(text)]


def to_json(task: SeedTask) -> dict[str, Any]:
    """Return a task as a row of a seed file."""
    return {
        "id": task.id,
        "name": task.name,
        "category": task.category,
        "instruction": task.instruction,
        "instances": [{"input": i.input, "output": i.output} for i in task.instances],
        "is_classification": task.is_classification,
    }


def fingerprint(tasks: Sequence[SeedTask]) -> str:
    """Return the SHA-256 of the tasks' content, which is part of a run's identity. The file's layout does not count."""
    digest = hashlib.sha256()
    for task in tasks:
        row = [task.id, task.instruction, task.is_classification, [[i.input, i.output] for i in task.instances]]
        digest.update(jsonl.dumps(row).encode() + b"\n")
    return digest.hexdigest()


def load_unchanged_seed_tasks(names: Sequence[str], sha256: str, otherwise: str = "") -> list[SeedTask]:
    """Read the seed tasks of a run. They must be the same as when the run began.

    Args:
        names: as in the run's configuration.
        sha256: their fingerprint in the journal's header.
        otherwise: end of the error message: what a user could do instead of restoring them.

    Raises:
        InputError: they have changed, or cannot be read.
    """
    tasks = load_seed_tasks(names)
    if fingerprint(tasks) != sha256:
        raise InputError(
            f"{', '.join(names)}: changed since the run began, so they are not the seeds of this run; "
            f"restore them{otherwise}"
        )
    return tasks
