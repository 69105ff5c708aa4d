"""Earlier runs that a run builds on.

What they accepted counts as its own pool does: new instructions must be novel against it, prompts may show it, and the
exported dataset holds its rows. A run names its earlier runs by their directories and is tied to their content by a
fingerprint, as it is to its seeds.

Ids stay what they were, with the run's name before them: `round-01/p000003-02`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from selfinstruct.errors import ConfigError, InputError
from selfinstruct.formats import jsonl
from selfinstruct.records import Instruction, Task
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.state import RunState

ORIGIN = "earlier"
"""Origin of their rows in a dataset; those that a run wrote itself are `generated`."""


@dataclass(frozen=True)
class Earlier:
    """What earlier runs accepted, in their order.

    Attributes:
        states: one of each run.
        instructions: all accepted ones.
        tasks: those that have instances.
    """

    states: list[RunState]
    instructions: list[Instruction]
    tasks: list[Task]


def load_parents(names: Sequence[str]) -> Earlier:
    """Read the runs in these directories.

    Raises:
        ConfigError: two of them have the same name.
        InputError: one is no run directory, or its journal is damaged.
    """
    found = Earlier([], [], [])
    taken: dict[str, str] = {}
    for name in names:
        run = RunDirectory(Path(name))
        label = run.path.resolve().name
        if label in taken:
            raise ConfigError(
                f"earlier: {taken[label]} and {name} have the same name, so that ids would not tell them apart; "
                "rename one of the directories, and give each once"
            )
        taken[label] = name
        state = run.state(live=True)
        found.states.append(state)
        found.instructions.extend(replace(i, id=f"{label}/{i.id}") for i in state.pool)
        found.tasks.extend(replace(task, id=f"{label}/{task.id}", origin=ORIGIN) for task in state.tasks())
    return found


def load_unchanged_parents(names: Sequence[str], identity: dict[str, Any], otherwise: str = "") -> Earlier:
    """The earlier runs that a run built on, as long as they are what they were.

    Args:
        names: as in the run's configuration.
        identity: of the run, from its journal's header.
        otherwise: what else a user could do than to restore them.

    Raises:
        InputError: they have changed, or cannot be read.
    """
    earlier = load_parents(names)
    if names and fingerprint(earlier) != identity.get("earlier_sha256"):
        raise InputError(
            f"{', '.join(names)}: not what this run was built on, or changed since; restore them{otherwise}"
        )
    return earlier


def fingerprint(earlier: Earlier) -> str:
    """SHA-256 of what they accepted, instances included: part of a run's identity."""
    digest = hashlib.sha256()
    for instruction in earlier.instructions:
        digest.update(jsonl.dumps([instruction.id, instruction.text]).encode() + b"\n")
    for task in earlier.tasks:
        row = [task.id, task.is_classification, [[i.input, i.output] for i in task.instances]]
        digest.update(jsonl.dumps(row).encode() + b"\n")
    return digest.hexdigest()


def own_id(task_id: str) -> str:
    """The id that a task had in its own run.

    >>> own_id("round-01/p000003-02"), own_id("p000003-02")
    ('p000003-02', 'p000003-02')
    """
    return task_id.rpartition("/")[2]
