"""The file formats of the reference code (yizhongw/self-instruct), for the tools that read them.

    machine_generated_instructions.jsonl  {"instruction", "most_similar", "avg_similarity_score", "request_idx", ...}
    is_clf_or_not.jsonl                   {"instruction", "is_classification": " Yes" | " No"}
    all_generated_instances.jsonl         {"instruction", "input", "output"}
    finetuning.jsonl                      {"prompt", "completion"}, plain text that ends in GPT-3's end token

and its 252 tasks for evaluation, which experts wrote for the applications that people use:

    user_oriented_instructions.jsonl      {"id", "motivation_app", "instruction", "instances": [{"input", "output"}]}

`most_similar` and `avg_similarity_score` are not written: the novelty filter does not compute scores that are far
below its threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfinstruct.formats import jsonl, seed_tasks
from selfinstruct.records import Instruction, SeedTask, Task, user_message, with_constraints


def write(folder: Path, instructions: Sequence[tuple[Instruction, bool | None]], tasks: Sequence[Task]) -> None:
    """Write accepted instructions and the instances of tasks in the formats of the reference code.

    Args:
        folder: folder of the four files.
        instructions: (instruction, whether it is a classification task) in order; None if that is not known.
        tasks: instructions with their instances.
    """
    jsonl.write(
        folder / "machine_generated_instructions.jsonl",
        ({"instruction": i.text, "request_idx": i.proposal} for i, _ in instructions),
    )
    jsonl.write(
        folder / "is_clf_or_not.jsonl",
        (
            {"instruction": i.text, "is_classification": " Yes" if yes else " No"}
            for i, yes in instructions
            if yes is not None
        ),
    )
    jsonl.write(
        folder / "all_generated_instances.jsonl",
        (
            {"instruction": with_constraints(t.instruction, i.constraints), "input": i.input, "output": i.output}
            for t in tasks
            for i in t.instances
        ),
    )
    jsonl.write(
        folder / "finetuning.jsonl",
        (
            {
                "prompt": f"{user_message(with_constraints(t.instruction, i.constraints), i.input)}\n\n",
                "completion": f"{i.output}<|endoftext|>",
            }
            for t in tasks
            for i in t.instances
        ),
    )


def is_user_oriented(row: dict[str, Any]) -> bool:
    """Return whether a row has the format of `user_oriented_instructions.jsonl`."""
    return "motivation_app" in row and "instances" in row


def read_user_oriented(path: Path) -> list[SeedTask]:
    """Read the tasks of `user_oriented_instructions.jsonl`. Their `category` is the application they were written for.

    No task counts as classification, because the file does not say which ones are.

    Raises:
        InputError: lists every problem, with line and field.
    """
    return seed_tasks.load_seed_tasks([path], as_seed=_as_seed)


def _as_seed(row: dict[str, Any]) -> dict[str, Any]:
    return {"is_classification": False, "category": row.get("motivation_app", "")} | row
