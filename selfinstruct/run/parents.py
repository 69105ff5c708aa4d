"""Parent runs: the runs that a run builds on.

Their accepted instructions are treated like the run's own pool: new instructions must be novel compared with them,
prompts may show them, and the exported dataset holds their rows. The configuration of a run names the directories of
its parent runs, and its journal records a fingerprint of their content.

An id from a parent run begins with the name of that run: `round-01/p000003-02`.

Older versions called them earlier runs. Stored data keeps that name, so that old runs can continue: `earlier_sha256`
in the journal, the origin "earlier" of rows, and `earlier` in export.json.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from msgspec import structs

from selfinstruct.errors import ConfigError, InputError
from selfinstruct.formats import jsonl
from selfinstruct.records import Instruction, Task
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.state import RunState

ORIGIN = "earlier"
"""Origin of their rows in a dataset. The origin of the run's own rows is `generated`."""


@dataclass(frozen=True, slots=True)
class ParentRuns:
    """What parent runs accepted, in the order of the runs.

    Attributes:
        states: the state of each run.
        instructions: all accepted instructions.
        tasks: the accepted instructions that have instances.
    """

    states: list[RunState]
    instructions: list[Instruction]
    tasks: list[Task]


def load_parents(names: Sequence[str]) -> ParentRuns:
    """Read the parent runs in these directories.

    Raises:
        ConfigError: two of them have the same name.
        InputError: one is not a run directory, or its journal is damaged.
    """
    parent_runs = ParentRuns([], [], [])
    directories: dict[str, str] = {}
    for name in names:
        run = RunDirectory(Path(name))
        label = run.path.resolve().name
        if label in directories:
            raise ConfigError(
                f"parent_runs: {directories[label]} and {name} have the same name, so their ids would be the same; "
                "rename one of the directories, and give each directory only once"
            )
        directories[label] = name
        state = run.state(live=True)
        parent_runs.states.append(state)
        parent_runs.instructions.extend(structs.replace(i, id=f"{label}/{i.id}") for i in state.pool)
        parent_runs.tasks.extend(replace(task, id=f"{label}/{task.id}", origin=ORIGIN) for task in state.tasks())
    return parent_runs


def load_unchanged_parents(names: Sequence[str], identity: dict[str, Any], otherwise: str = "") -> ParentRuns:
    """Read the parent runs of a run. They must be the same as when the run was made.

    Args:
        names: as in the run's configuration.
        identity: identity of the run, from its journal's header.
        otherwise: end of the error message: what a user could do instead of restoring them.

    Raises:
        InputError: they have changed, or cannot be read.
    """
    parent_runs = load_parents(names)
    if names and fingerprint(parent_runs) != identity.get("earlier_sha256"):
        raise InputError(
            f"{', '.join(names)}: not the parent runs of this run, or changed since it began; restore them{otherwise}"
        )
    return parent_runs


def fingerprint(parent_runs: ParentRuns) -> str:
    """Return the SHA-256 of their accepted instructions and instances. It is part of a run's identity."""
    digest = hashlib.sha256()
    for instruction in parent_runs.instructions:
        digest.update(jsonl.dumps([instruction.id, instruction.text]).encode() + b"\n")
    for task in parent_runs.tasks:
        row = [task.id, task.is_classification, [[i.input, i.output] for i in task.instances]]
        digest.update(jsonl.dumps(row).encode() + b"\n")
    return digest.hexdigest()


def own_id(task_id: str) -> str:
    """Return the id that a task had in its own run.

    >>> own_id("round-01/p000003-02"), own_id("p000003-02")
    ('p000003-02', 'p000003-02')
    """
    return task_id.rpartition("/")[2]
