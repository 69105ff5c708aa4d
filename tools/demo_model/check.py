"""Judge what the demo model wrote: whether its instructions are new and its instances right.

    python -m tools.demo_model.check RUN_DIR

An instruction is new if the training text does not contain it. An instance is judged if its instruction contains the
wording of one family of `families/`; the checker of that family decides whether it is right. Open families (notes,
descriptions, lists) have many right answers: their checkers look at the form and at the words that must occur.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import click

from selfinstruct.formats import jsonl
from selfinstruct.run.directory import RunDirectory
from tools.demo_model.corpus import instructions, training_seeds
from tools.demo_model.instructions import recognise


@dataclass
class Tally:
    """Right instances among those judged."""

    right: int = 0
    judged: int = 0

    @property
    def share(self) -> float:
        """Return the share of right instances among those judged, in [0, 1]; 0 if none are judged."""
        return self.right / self.judged if self.judged else 0.0

    def __iadd__(self, other: Tally) -> Tally:
        self.right += other.right
        self.judged += other.judged
        return self


@dataclass
class Verdict:
    """The result of `judge`.

    Attributes:
        instructions: number of different instructions.
        new: of these, the ones absent from the training text.
        recognised: of these, the ones that have the wording of a family.
        new_and_recognised: both.
        simple: instances by family, for families with one right answer.
        open: instances by family, for the other families.
        mistakes: the wrong instances.
    """

    instructions: int = 0
    new: int = 0
    recognised: int = 0
    new_and_recognised: int = 0
    simple: dict[str, Tally] = field(default_factory=dict)
    open: dict[str, Tally] = field(default_factory=dict)
    mistakes: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def share_new(self) -> float:
        """Return the share of instructions absent from the training text, in [0, 1]."""
        return self.new / self.instructions if self.instructions else 0.0

    @property
    def share_new_and_recognised(self) -> float:
        """Return the share of instructions absent from the training text that have a family's wording, in [0, 1]."""
        return self.new_and_recognised / self.instructions if self.instructions else 0.0

    @property
    def all_simple(self) -> Tally:
        """Return the tally of all simple families."""
        return _sum(self.simple.values())

    @property
    def all_open(self) -> Tally:
        """Return the tally of all open families."""
        return _sum(self.open.values())


def _sum(tallies: Iterable[Tally]) -> Tally:
    total = Tally()
    for tally in tallies:
        total += tally
    return total


@cache
def _training_text() -> str:
    """Return every instruction of the training text, seeds included, one per line."""
    return "\n".join([text for text, _ in instructions()] + [task.instruction for task in training_seeds()])


def is_new(instruction: str) -> bool:
    """Return whether the training text does not contain this instruction, not even inside a longer one."""
    return instruction not in _training_text()


def share_new(texts: Sequence[str]) -> float:
    """Return the share of instructions that are absent from the training text, in [0, 1]."""
    return sum(map(is_new, texts)) / len(texts) if texts else 0.0


def is_right(instruction: str, text: str, answer: str) -> bool | None:
    """Return whether an answer is right; None if the instruction belongs to no family, or not clearly to one.

    Args:
        instruction: the instruction.
        text: the input; may be empty.
        answer: the answer.
    """
    request = recognise(instruction)
    return None if request is None else request.is_right(text, answer)


def judge(rows: Iterable[Mapping[str, Any]]) -> Verdict:
    """Judge rows with the keys `instruction`, `input` and `output`."""
    verdict, seen = Verdict(), set[str]()
    for row in rows:
        text = row["instruction"]
        request = recognise(text)
        if text not in seen:
            seen.add(text)
            new = is_new(text)
            verdict.instructions += 1
            verdict.new += new
            verdict.recognised += request is not None
            verdict.new_and_recognised += new and request is not None
        if request is None:
            continue
        tallies = verdict.open if request.family.solve is None else verdict.simple
        tally = tallies.setdefault(request.family.name, Tally())
        right = request.is_right(row["input"], row["output"])
        tally += Tally(int(right), 1)
        if not right:
            verdict.mistakes.append(
                {"family": request.family.name, **{key: row[key] for key in ("instruction", "input", "output")}}
            )
    return verdict


def generated_rows(run_dir: Path) -> list[dict[str, Any]]:
    """Return the machine-written rows of a run's dataset."""
    return [
        row
        for path in sorted(RunDirectory(run_dir).dataset.path.glob("*.jsonl"))
        for _, row in jsonl.read(path)
        if row.get("origin") == "generated"
    ]


def summary(verdict: Verdict) -> dict[str, Any]:
    """Return the numbers of a verdict as JSON values; shares are in [0, 1]."""
    return {
        "instructions": verdict.instructions,
        "share_new": verdict.share_new,
        "share_new_and_recognised": verdict.share_new_and_recognised,
        "simple": {"judged": verdict.all_simple.judged, "share_right": verdict.all_simple.share},
        "open": {"judged": verdict.all_open.judged, "share_right": verdict.all_open.share},
        "families": {
            name: {"judged": t.judged, "share_right": t.share} for name, t in (verdict.simple | verdict.open).items()
        },
    }


@click.command()
@click.argument("run_dir", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON.")
@click.option("--mistakes", default=0, show_default=True, help="Wrong instances to show.")
def main(run_dir: Path, as_json: bool, mistakes: int) -> None:
    """Judge the dataset of a run of the demo model.

    Example: python -m tools.demo_model.check runs/demo --mistakes 10
    """
    verdict = judge(generated_rows(run_dir))
    if as_json:
        click.echo(json.dumps(summary(verdict), indent=1))
        return
    click.echo(f"{verdict.instructions} instructions, {verdict.share_new:.0%} absent from the training text,")
    click.echo(f"{verdict.share_new_and_recognised:.0%} absent from it and of a family that the model can do")
    for title, total, tallies in (
        ("simple", verdict.all_simple, verdict.simple),
        ("open (form only)", verdict.all_open, verdict.open),
    ):
        click.echo(f"\n{total.right:5d} of {total.judged:5d} right ({total.share:.0%})  {title} families together")
        for name, tally in sorted(tallies.items(), key=lambda entry: entry[1].share):
            click.echo(f"{tally.right:5d} of {tally.judged:5d}  {name}")
    for mistake in verdict.mistakes[:mistakes]:
        click.echo(f"\n[{mistake['family']}] {mistake['instruction']}\n  {mistake['input']!r} -> {mistake['output']!r}")


if __name__ == "__main__":
    main()
