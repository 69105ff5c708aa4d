"""The demo's own evaluation tasks: the families' tasks, with wordings and instances that the corpus never contains.

    python -m tools.demo_model.heldout

Both are kept apart by construction: each family has wordings that only these tasks use (`Family.reserved`), and one
instance in sixteen never goes into the corpus (`Family.reserves`). `leaks` checks this on the text itself.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import click
import msgspec

from selfinstruct.formats import jsonl
from selfinstruct.packaged import heldout_path
from selfinstruct.records import Instance, SeedTask
from tools.demo_model.corpus import Document
from tools.demo_model.families import FAMILIES, Family
from tools.demo_model.instructions import Request, compose

TASKS_PER_FAMILY = 2
SEED = 20
_TRIES = 20


def tasks(seed: int = SEED) -> list[SeedTask]:
    """Return the held-out tasks, the same for the same seed.

    There are two of each family, with two instances if the family has an input.
    A family whose answers must be memorised (the words of numbers) has none: all its instances are in the corpus.
    """
    rng = random.Random(f"held out {seed}")
    by_instruction: dict[str, SeedTask] = {}
    for family in FAMILIES:
        for k in range(TASKS_PER_FAMILY):
            drawn = _new_task(family, rng, taken=by_instruction)
            if drawn is None:
                break
            text, instances = drawn
            name = family.name.replace(" ", "_").replace("-", "_")
            by_instruction[text] = SeedTask(
                id=f"demo_{len(by_instruction) + 1:03d}",
                instruction=text,
                instances=instances,
                is_classification=family.is_classification,
                name=f"{name}_{k + 1}",
                category=family.name,
                written_by="program",
            )
    return list(by_instruction.values())


def _new_task(family: Family, rng: random.Random, taken: Collection[str]) -> tuple[str, tuple[Instance, ...]] | None:
    """Return an instruction in a reserved wording with enough reserved instances; not all parameters have them."""
    for _ in range(_TRIES):
        text, request = compose(family, rng, reserved=True)
        instances = _instances(request, rng)
        if instances and text not in taken:
            return text, instances
    return None


def _instances(request: Request, rng: random.Random) -> tuple[Instance, ...]:
    wanted = 2 if request.family.input_names else 1
    instances: dict[str, Instance] = {}
    for _ in range(_TRIES):
        instance = request.instance(rng, reserved=True)
        if instance is not None:
            # Two different labels, so that a constant answer scores one half.
            instances.setdefault(instance.output if request.family.is_classification else instance.input, instance)
        if len(instances) == wanted:
            return tuple(instances.values())
    return ()


def leaks(held_out: Iterable[SeedTask], documents: Iterable[Document]) -> list[str]:
    """Return the held-out instructions and instances that occur in the documents, as the prompts write them."""
    text = "\n".join(document.text for document in documents)
    problems = []
    for task in held_out:
        if task.instruction in text:
            problems.append(f"{task.id}: instruction {task.instruction!r}")
        for instance in task.instances:
            for written in _forms(instance):
                if written in text:
                    problems.append(f"{task.id}: instance {written!r}")
    return problems


def _forms(instance: Instance) -> list[str]:
    if not instance.input:
        return [f"Example 1\nOutput: {instance.output}\n"]
    return [
        f"Input: {instance.input}\nOutput: {instance.output}\n",
        f"Label: {instance.output}\nInput: {instance.input}\n",
    ]


def row(task: SeedTask) -> dict[str, Any]:
    """Return the task in the schema of seed files."""
    return {
        "id": task.id,
        "name": task.name,
        "category": task.category,
        "instruction": task.instruction,
        "instances": [msgspec.to_builtins(instance) for instance in task.instances],
        "is_classification": task.is_classification,
        "written_by": task.written_by,
    }


@click.command()
@click.option("--output", type=click.Path(path_type=Path), default=heldout_path(), help="File to write.")
def main(output: Path) -> None:
    """Write the demo's held-out evaluation tasks.

    Example: python -m tools.demo_model.heldout
    """
    held_out = tasks()
    output.write_text("".join(f"{jsonl.dumps(row(task))}\n" for task in held_out), encoding="utf-8")
    click.echo(f"{len(held_out)} tasks, {sum(len(task.instances) for task in held_out)} instances: {output}")


if __name__ == "__main__":
    main()
