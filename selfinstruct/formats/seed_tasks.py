"""Seed files: load them, and report all their problems at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, StrictBool, StrictStr, ValidationError

from selfinstruct.errors import InputError
from selfinstruct.formats import jsonl
from selfinstruct.packaged import PACKAGED, resolve
from selfinstruct.records import Instance, SeedTask, WrittenBy
from selfinstruct.text import capped

MOST_PROBLEMS = 20
"""Problems that one error lists."""


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
    written_by: WrittenBy = "person"
    paraphrases: list[StrictStr] = []


def load_seed_tasks(
    names: Sequence[str | Path], *, as_seed: Callable[[dict[str, Any]], dict[str, Any]] = lambda row: row
) -> list[SeedTask]:
    """Read the tasks of one or more files, in order.

    Args:
        names: the files, or names of packaged ones.
        as_seed: turns a row of another format into one of this schema.

    Raises:
        InputError: lists the problems of all files, each with file, line and field; the first twenty, and how many
            more there are. A file of another format is named as what it is.
    """
    tasks: list[SeedTask] = []
    problems: list[str] = []
    seen: dict[str, str] = {}
    for path in map(resolve, names):
        before = len(tasks) + len(problems)
        for number, row, problem in _rows(path):
            where = f"{path}, line {number}"
            row = as_seed(row)
            row_problems = [problem] if problem else _problems(row)
            task_id = str(row.get("id"))
            if not row_problems and task_id in seen:
                row_problems = [f"`id`: {task_id!r} is already the id of {seen[task_id]}"]
            problems += [f"{where}: {text}" for text in row_problems]
            if not row_problems:
                seen[task_id] = where
                tasks.append(_task(row))
        if len(tasks) + len(problems) == before:
            problems.append(f"{path}: holds no tasks")
    if problems:
        shown = "\n".join(f"  {text}" for text in capped(problems, MOST_PROBLEMS))
        raise InputError(f"{len(problems)} problem(s) in the seed tasks; correct them and try again:\n{shown}")
    return tasks


def _rows(path: Path) -> list[tuple[int, dict[str, Any], str]]:
    """Return (line number, row, problem) of each line. Go on after a broken line, to report all problems at once."""
    if not path.exists():
        raise InputError(f"{path}: no such seed file; give a path, or one of the packaged names: {', '.join(PACKAGED)}")
    rows: list[tuple[int, dict[str, Any], str]] = []
    try:
        data = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if other := _other_format(data):
        raise InputError(
            f"{path}: this is {other}, no file of seed tasks; write each task as one line "
            '{"id", "instruction", "instances": [{"input", "output"}], "is_classification"}'
        )
    for number, raw in enumerate(data.split(b"\n"), 1):
        if raw.strip():
            try:
                rows.append((number, jsonl.parse(raw), ""))
            except ValueError as error:
                rows.append((number, {}, str(error)))
    return rows


_OTHER_FORMATS = (
    ({"Definition", "Instances"}, "a task of Super-NaturalInstructions"),
    ({"instruction_id_list"}, "a file of IFEval"),
    ({"conversations"}, "a ShareGPT file"),
    ({"prompt", "completion"}, "a dataset of prompts and completions"),
    ({"instruction", "output"}, "an Alpaca file"),
)
"""Keys of a file's first object, and what it is."""


def _other_format(data: bytes) -> str:
    """Return what a file is that is read by mistake; empty for one that can be seed tasks."""
    if data.startswith(b"\x1f\x8b"):
        return "a gzip file"
    text = data.lstrip()
    first_line = text.partition(b"\n")[0]
    try:
        value = json.loads(first_line if first_line.rstrip().endswith(b"}") else text)
    except (ValueError, RecursionError):
        return ""
    first = value[0] if isinstance(value, list) and value else value
    keys = first.keys() if isinstance(first, dict) and "instances" not in first else set()
    known = next((form for of_form, form in _OTHER_FORMATS if of_form <= keys), "")
    return known or ("a JSON array" if isinstance(value, list) else "")


def _task(row: dict[str, Any]) -> SeedTask:
    read = _TaskRow.model_validate(row)
    return SeedTask(
        id=read.id,
        instruction=read.instruction.strip(),
        instances=tuple(Instance(i.input.strip(), i.output.strip()) for i in read.instances),
        is_classification=read.is_classification,
        name=read.name,
        category=read.category,
        written_by=read.written_by,
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


def unfit(text: str) -> list[str]:
    """Return the problems of a text: characters that neither a file nor a prompt should hold."""
    problems = []
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        problems.append("holds a lone surrogate, which no text file can hold; remove it")
    if "\0" in text:
        problems.append("holds a NUL character; remove it")
    return problems


def readable(error: Any) -> str:
    """Return the message of one error of pydantic, with the wrong value."""
    if error["type"] == "missing":
        return "is missing"
    return f"{error['msg'][0].lower()}{error['msg'][1:]}, got {repr(error['input'])[:80]}"


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
