"""What came out of a run: its rows, and its rejected candidates, each with all its evidence."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar, assert_never

import msgspec

from selfinstruct.errors import ConfigError
from selfinstruct.formats import jsonl
from selfinstruct.records import Tags, with_constraints
from selfinstruct.run import task_tags
from selfinstruct.run.answer_scores import Place, latest
from selfinstruct.run.control_lines import Control
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.journal import read_lines
from selfinstruct.run.lines import (
    AnswerLine,
    ClassificationLine,
    Header,
    InstanceCandidate,
    InstancesLine,
    InstructionCandidate,
    Line,
    Neighbour,
    OutputLine,
    ProposalLine,
    ScoreLine,
    TagsLine,
)
from selfinstruct.run.state import RunState, replay
from selfinstruct.text import printable

T = TypeVar("T")
_Written = Literal["instance", "answer", "output"]
_OF_INPUT = -1
"""In place of a sample: the input, before it is answered."""
EVERY_REASON = "any"
"""In place of a reason: rejected candidates whatever the reason."""


class ShownRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """A row of the dataset, before it is exported.

    Attributes:
        id: that of the exported row: the instruction's, and the number of the instance.
        is_classification: None if the instruction was not classified.
        proposer: who proposed the instruction.
        topic: the subject that the proposer asked for; empty: any.
        nearest: the most similar text that was there when the instruction was accepted, with its ROUGE-L F.
        warnings: the evidence of each filter that objects to instruction or row and only warns, by reason.
        thinking: what the model thought before it wrote the output, where that is kept.
        scores: what the latest scorer of each name says about the output.
        tags: what the latest tagger says the task is about; None where it says nothing.
    """

    id: str
    instruction: str
    input: str
    output: str
    is_classification: bool | None
    proposer: str
    nearest: Neighbour | None
    topic: str = ""
    warnings: dict[str, dict[str, Any]] = {}
    thinking: str = ""
    scores: dict[str, float] = {}
    tags: Tags | None = None

    def texts(self) -> tuple[str, ...]:
        """Return the texts in which `--grep` looks."""
        return self.instruction, self.input, self.output, self.thinking


class ShownRejection(msgspec.Struct, frozen=True, omit_defaults=True):
    """A rejected candidate.

    Attributes:
        id: the candidate's, or that of the instruction to which it belongs.
        kind: what was rejected; of an `output` the old one stays.
        reason: why it was rejected.
        evidence: the evidence for the reason.
    """

    id: str
    kind: Literal["instruction"] | _Written
    reason: str
    evidence: dict[str, Any]
    instruction: str
    input: str = ""
    output: str = ""

    def texts(self) -> tuple[str, ...]:
        """Return the texts in which `--grep` looks."""
        return self.instruction, self.input, self.output


Shown = ShownRow | ShownRejection


class _Evidence:
    """What the lines of a journal say about candidates, by id, beside what the state keeps."""

    def __init__(self) -> None:
        self.accepted: dict[str, tuple[InstructionCandidate, ProposalLine]] = {}
        self.warnings: dict[Place, dict[str, dict[str, Any]]] = {}
        self.places: dict[str, set[Place]] = {}
        """By instruction: the places of the kept instances among the candidates."""
        self.rejected: list[ShownRejection] = []

    def watch(self, lines: Iterable[Line]) -> Iterator[Line]:
        """Yield the lines, and learn from each that was accepted."""
        for line in lines:
            yield line
            match line:
                case ProposalLine():
                    for candidate in line.candidates:
                        self._proposed(candidate, line)
                case InstancesLine():
                    waits = line.form == "input_only"
                    for input_number, one in enumerate(line.candidates):
                        self._seen("instance", one, Place(line.id, input_number, _OF_INPUT if waits else 0))
                case AnswerLine():
                    for sample, one in enumerate(line.candidates):
                        self._seen("answer", one, Place(line.id, line.instance, sample))
                case OutputLine():
                    for one in line.candidates:
                        self._seen("output", one, sorted(self.places[line.id])[line.instance])
                case Header() | ClassificationLine() | ScoreLine() | TagsLine() | Control():
                    pass
                case _ as never:
                    assert_never(never)

    def _proposed(self, candidate: InstructionCandidate, line: ProposalLine) -> None:
        if candidate.accepted:
            self.accepted[candidate.id] = candidate, line
            if candidate.instance is not None:
                self.places[candidate.id] = {Place(candidate.id, 0, 0)}
        else:
            reason, evidence = candidate.reason or "", candidate.evidence or {}
            self.rejected.append(ShownRejection(candidate.id, "instruction", reason, evidence, candidate.instruction))

    def _seen(self, kind: _Written, one: InstanceCandidate, place: Place) -> None:
        if not one.accepted:
            reason, evidence, instruction = one.reason or "", one.evidence or {}, self.accepted[place.id][0].instruction
            self.rejected.append(ShownRejection(place.id, kind, reason, evidence, instruction, one.input, one.output))
            return
        # An answer is decided after its input: objections to both are the row's. A new output has its own.
        of_input = self.warnings.get(place._replace(sample=_OF_INPUT), {}) if kind == "answer" else {}
        self.warnings[place] = {**of_input, **one.warnings}
        if place.sample != _OF_INPUT:
            self.places.setdefault(place.id, set()).add(place)


def rows(run: Path) -> list[ShownRow]:
    """Return the rows of a run in order of acceptance, also while another process is writing it.

    Raises:
        InputError: `run` is no run directory, or its journal is damaged.
    """
    state, evidence = _read(run)
    return list(_rows(state, evidence))


def rejected(run: Path, reason: str) -> list[ShownRejection]:
    """Return the candidates that were rejected for a reason (`any`: whatever the reason) in the order of the journal.

    Raises:
        InputError: `run` is no run directory, or its journal is damaged.
        ConfigError: nothing was rejected for this reason; the message names those that there are.
    """
    _, evidence = _read(run)
    rejections = [one for one in evidence.rejected if reason in (one.reason, EVERY_REASON)]
    if not rejections and reason != EVERY_REASON:
        there = ", ".join(sorted({one.reason for one in evidence.rejected})) or "nothing was rejected"
        raise ConfigError(f"--rejected {reason}: no candidate was rejected for that; reasons of this run: {there}")
    return rejections


def sample(items: list[T], size: int, seed: int) -> list[T]:
    """Return `size` items drawn at random without replacement, in their order; the same seed draws the same ones.

    Args:
        items: to draw from.
        size: how many at most.
        seed: of the draw.
    """
    chosen = random.Random(seed).sample(range(len(items)), min(size, len(items)))
    return [items[k] for k in sorted(chosen)]


def containing(items: Iterable[Shown], text: str) -> list[Shown]:
    """Return the items in whose texts `text` occurs, in upper or lower case."""
    wanted = text.casefold()
    return [one for one in items if any(wanted in field.casefold() for field in one.texts())]


def _read(run: Path) -> tuple[RunState, _Evidence]:
    directory = RunDirectory(run)
    directory.require_journal()
    evidence = _Evidence()
    state = replay(evidence.watch(read_lines(directory.journal, live=True)), directory.journal)
    return state, evidence


def _rows(state: RunState, evidence: _Evidence) -> Iterator[ShownRow]:
    scored = (latest(state.scores, name) for name in sorted({scorer.name for scorer in state.scores}))
    scores = {scorer.name: values for scorer, values in filter(None, scored)}
    tags = task_tags.latest(state.tags)
    for instruction in state.pool:
        candidate, line = evidence.accepted[instruction.id]
        kept = state.instances.get(instruction.id, ())
        places = sorted(evidence.places.get(instruction.id, ()))
        for number, (instance, place) in enumerate(zip(kept, places, strict=True)):
            yield ShownRow(
                id=f"{instruction.id}-{number}",
                instruction=with_constraints(instruction.text, instance.constraints),
                input=instance.input,
                output=instance.output,
                is_classification=state.is_classification.get(instruction.id),
                proposer=line.proposer,
                topic=line.topic,
                nearest=candidate.nearest_seed or None,
                warnings={**candidate.warnings, **evidence.warnings.get(place, {})},
                thinking=instance.thinking,
                scores={name: values[place] for name, values in scores.items() if place in values},
                tags=tags.get(instruction.id),
            )


def as_json(one: Shown) -> str:
    """Return an item as one line of JSON, in ASCII: a terminal obeys none of it."""
    return json.dumps(msgspec.to_builtins(one))


def as_text(one: Shown) -> str:
    """Return an item for a terminal, on several lines. Escapes replace control characters."""
    if isinstance(one, ShownRow):
        near = f"nearest {one.nearest.id} at {one.nearest.score:.2f}" if one.nearest else "nothing similar"
        by = f"by {one.proposer}" + (f" about {one.topic}" if one.topic else "")
        kind = ", classification" if one.is_classification else ""
        head = f"{one.id}  {by}, {near}{kind}"
        notes = {f"warning {reason}": evidence for reason, evidence in one.warnings.items()}
        notes |= {"scores": one.scores} if one.scores else {}
        notes |= {"tags": msgspec.to_builtins(one.tags)} if one.tags else {}
    else:
        head = f"{one.id}  {one.kind} rejected: {one.reason}"
        notes = {"evidence": one.evidence} if one.evidence else {}
    texts = [("instruction", one.instruction), ("input", one.input), ("output", one.output)]
    lines = [head, *(_labelled(name, text) for name, text in texts if text)]
    lines += [_labelled(name, jsonl.dumps(evidence)) for name, evidence in notes.items()]
    return printable("\n".join(lines))


def _labelled(name: str, text: str) -> str:
    return f"  {name}: " + text.strip().replace("\n", "\n    ")
