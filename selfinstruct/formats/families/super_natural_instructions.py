"""Super-NaturalInstructions as training rows: the definition is the instruction, each instance a row.

The file format is described in `formats/super_natural_instructions.py`. An instance's further outputs are the row's
references. Positive and negative examples are not read.
"""

from __future__ import annotations

from typing import Any

from selfinstruct.formats.families.row import Dropped, Read, single_turn
from selfinstruct.formats.super_natural_instructions import parse_task

_SHORT = 3
"""Longest label, in words."""
_FEW = 10
"""Most labels of a classification task."""


def recognises(record: dict[str, Any]) -> bool:
    """Return whether a record is a task file."""
    return {"Definition", "Instances"} <= record.keys()


def read(record: dict[str, Any], name: str = "") -> Read:
    """Yield a row for each instance of a task.

    Args:
        record: the whole file.
        name: the file's name without its suffix.

    Raises:
        ValueError: a field is missing or has another type.
    """
    task = parse_task(record, name, most_instances=None)
    labels = {output for instance in task.instances for output in instance.outputs}
    few = len(labels) <= _FEW and all(len(label.split()) <= _SHORT for label in labels)
    for instance in task.instances:
        if not instance.outputs:
            yield Dropped("empty output")
            continue
        yield single_turn(
            task.definition,
            instance.input,
            instance.outputs[0],
            id=instance.id,
            references=instance.outputs[1:],
            task=task.id,
            category=task.category,
            is_classification=few and len(task.instances) > len(labels),
        )
