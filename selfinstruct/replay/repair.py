"""`selfinstruct repair`: take the damage out of a journal, so that the run can continue.

A journal is damaged when a line before its end is no journal line, or when its lines are not those of one run in order
(a line is missing or repeated). Readers refuse such a journal, and no other command repairs it. This command keeps a
copy of the damaged journal (`journal.jsonl.damaged-1`, `-2`, ...) and says what is lost.

Lines that can stay are kept byte for byte. These lines are dropped:

- damaged lines: nobody knows what they said;
- proposals after a missing one. They were decided against a pool that held what the missing one accepted, and later
  prompts may show it. Also, numbers must run without a gap, because the prompt of proposal n is made from the pool
  after proposal `Method.last_seen(n)`. These proposals are made again;
- classifications and instances of instructions that no kept proposal accepted;
- instances without their classification: it decided the form of the question, and the export needs it;
- answers without the input that they answer;
- rewritten outputs (of a regenerated run) without the instance that they rewrite;
- lines that repeat an earlier one; a second header;
- control lines (a raised target, a stop) that belong to a dropped proposal. The next `generate` writes them again if
  they still apply.

What a regenerated run has lost of its source's lines, the next `regenerate` copies from the source again.

One line may be added: when proposals follow a stop, and a damaged line lies between them, then that line lifted the
stop. Without it the run would stay stopped for ever.

A journal whose header is damaged cannot be repaired: the header says what the run is, and only the engine knows some of
that. Damage that leaves a line well-formed (a flipped bit inside a text) cannot be detected.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import assert_never

from selfinstruct.errors import InputError
from selfinstruct.formats import jsonl
from selfinstruct.run import answer_scores, lines, task_tags
from selfinstruct.run.appending import set_torn_tail_aside
from selfinstruct.run.control_lines import Control, Resumed, Stop
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
    OutputLine,
    ProposalLine,
    ScoreLine,
    TagsLine,
)
from selfinstruct.run.state import RunState, replay

_SHOWN = 20
_REPEATED = "repeats an earlier line"


@dataclass(frozen=True, slots=True)
class LineCounts:
    """Lines of the journal: total = kept + damaged + dropped; `added` ones are not part of the total."""

    total: int
    kept: int
    damaged: int
    dropped: int
    added: int


@dataclass(frozen=True, slots=True)
class DamagedLine:
    """A line that is no journal line: its number (from 1), its offset and size in bytes, and what is wrong with it."""

    line: int
    byte: int
    bytes: int
    why: str


@dataclass(frozen=True, slots=True)
class DroppedLines:
    """Whole lines of one kind that cannot stay, the reason, and how many they are."""

    kind: str
    why: str
    lines: int


@dataclass(frozen=True, slots=True)
class Lost:
    """What the dropped lines held; what damaged lines held is unknown.

    Attributes:
        proposals: numbers of the first and the last dropped proposal; None when no proposal was dropped.
        completions: answers of the model.
        instructions: accepted instructions.
        inputs: accepted inputs that are answered separately.
        instances: accepted instances.
        outputs: accepted rewritten outputs.
    """

    proposals: tuple[int, int] | None
    completions: int
    instructions: int
    inputs: int
    instances: int
    outputs: int


@dataclass(frozen=True, slots=True)
class RepairResult:
    """What `repair` did.

    Attributes:
        run: the run directory.
        copy: the copy of the damaged journal; None when nothing was damaged.
        torn: bytes of a cut last line that was moved away. It is no damage: `generate` does the same.
        lines: how many lines were kept, and how many not.
        damaged: the damaged lines, in order.
        dropped: the dropped lines, by kind and reason.
        lost: what the dropped lines held.
        next_proposal: number of the proposal with which the run continues.
        source: of a regenerated run: the run whose outputs it rewrites. `regenerate` copies lost lines from it.
    """

    run: Path
    copy: Path | None
    torn: int
    lines: LineCounts
    damaged: tuple[DamagedLine, ...]
    dropped: tuple[DroppedLines, ...]
    lost: Lost
    next_proposal: int
    source: str | None


def repair(run_dir: Path) -> RepairResult:
    """Take the damage out of the journal of the run in `run_dir`; change nothing when there is none.

    Raises:
        InputError: no run directory; or the header is damaged, or of another version of this program.
        RunLockedError: another process writes the directory.
    """
    run = RunDirectory(run_dir)
    run.require_journal()
    with run.locked():
        torn = set_torn_tail_aside(run.journal, run.torn)
        walk, copy = _Walk(), None
        for _ in walk.kept(run.journal):
            pass
        if not walk.unharmed:
            copy, walk = _keep_copy(run), _Walk()
            with jsonl.atomic_path(run.journal) as temporary:
                with temporary.open("wb") as stream:
                    stream.writelines(walk.kept(copy))
                replay(read_lines(temporary))  # Never replace the journal by one that replay refuses.
    return RepairResult(
        run=run_dir,
        copy=copy,
        torn=torn,
        lines=walk.counts(),
        damaged=tuple(walk.damaged),
        dropped=walk.dropped_lines(),
        lost=walk.lost(),
        next_proposal=walk.state.proposals,
        source=walk.state.header.source,
    )


def _keep_copy(run: RunDirectory) -> Path:
    """Copy the journal, durably, to the first free `journal.jsonl.damaged-N`."""
    copy = run.next_damaged_copy()
    with jsonl.atomic_path(copy) as temporary:
        shutil.copyfile(run.journal, temporary)
    return copy


@dataclass
class _Walk:
    """One walk along a journal that decides which lines stay.

    Attributes:
        state: the state after the kept lines.
        accepted: ids of the instructions that kept proposals accepted.
        damage_since_stop: whether a damaged line lies between the stop in force and the current line.
    """

    state: RunState = field(default_factory=RunState)
    accepted: set[str] = field(default_factory=set)
    total: int = 0
    added: int = 0
    damaged: list[DamagedLine] = field(default_factory=list)
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)
    dropped_proposals: list[int] = field(default_factory=list)
    lost_items: Counter[str] = field(default_factory=Counter)
    damage_since_stop: bool = False

    @property
    def unharmed(self) -> bool:
        """Whether every line stays."""
        return not self.damaged and not self.dropped

    def kept(self, path: Path) -> Iterator[bytes]:
        """Yield the lines that stay, as they are in the file, and the line that may have to be added."""
        offset = 0
        with path.open("rb") as stream:
            for number, raw in enumerate(stream, 1):
                self.total += 1
                try:
                    line = lines.parse_valid(raw)
                except ValueError as error:
                    self._note_damage(number, offset, len(raw), error)
                else:
                    yield from self._keep_or_drop(number, line, raw)
                offset += len(raw)

    def counts(self) -> LineCounts:
        """Count the lines walked along."""
        damaged, dropped = len(self.damaged), sum(self.dropped.values())
        return LineCounts(self.total, self.total - damaged - dropped, damaged, dropped, self.added)

    def dropped_lines(self) -> tuple[DroppedLines, ...]:
        """Return the dropped lines by kind and reason."""
        return tuple(DroppedLines(kind, why, number) for (kind, why), number in self.dropped.items())

    def lost(self) -> Lost:
        """Return what the dropped lines held."""
        numbers, lost = self.dropped_proposals, self.lost_items
        proposals = (min(numbers), max(numbers)) if numbers else None
        kinds = ("completions", "instructions", "inputs", "instances", "outputs")
        return Lost(proposals, *(lost[kind] for kind in kinds))

    def _note_damage(self, number: int, offset: int, size: int, error: ValueError) -> None:
        if number == 1:
            raise InputError(
                f"the journal's first line, which says what the run is, is damaged: {error}. It cannot be repaired: "
                "restore the journal from a copy, or start from scratch in another directory"
            )
        self.damaged.append(DamagedLine(number, offset, size, str(error)))
        self.damage_since_stop = True

    def _keep_or_drop(self, number: int, line: Line, raw: bytes) -> Iterator[bytes]:
        if number == 1:
            _check_header(line)
        elif why := self._reason_to_drop(line):
            self._drop(line, why)
            return
        if isinstance(line, ProposalLine):
            if self.state.stopped is not None and self.damage_since_stop:
                yield self._resumed()
            self.accepted.update(candidate.id for candidate in line.candidates if candidate.accepted)
        self.state.apply(line)
        if isinstance(line, Stop):
            self.damage_since_stop = False
        yield raw

    def _resumed(self) -> bytes:
        line = Resumed(self.state.proposals - 1)
        self.state.apply(line)
        self.added += 1
        return lines.encode(line)

    def _reason_to_drop(self, line: Line) -> str:
        """Return why the line cannot stay after those that were kept; empty when it can."""
        state = self.state
        match line:
            case Header():
                return "a second header"
            case ProposalLine(n=n):
                if n > state.proposals:
                    return "comes after a missing proposal"
                return _REPEATED if n < state.proposals else ""
            case ClassificationLine(id=name):
                if name not in self.accepted:
                    return "its instruction is gone"
                decided = name in state.is_classification or name in state.classification_failed
                return _REPEATED if decided or state.tries.holds(line) else ""
            case InstancesLine(id=name):
                if name not in self.accepted:
                    return "its instruction is gone"
                if name not in state.is_classification:
                    return "its classification is gone"
                return _REPEATED if name in state.instances or state.tries.holds(line) else ""
            case AnswerLine(id=name, instance=position):
                if name not in self.accepted:
                    return "its instruction is gone"
                if position not in state.inputs.get(name, ()):
                    return "its input is gone"
                begun = line.to_be_continued and (name, position) in state.begun_answers
                return _REPEATED if begun or position in state.answers[name] or state.tries.holds(line) else ""
            case OutputLine(id=name, instance=position):
                if not state.header.regenerates:
                    return "the run rewrites no outputs"
                if name not in self.accepted:
                    return "its instruction is gone"
                if state.unanswered(name) or not 0 <= position < len(state.instances.get(name, ())):
                    return "its instance is gone"
                return _REPEATED if (name, position) in state.outputs_done else ""
            case ScoreLine(id=name, instance=position):
                if name not in self.accepted:
                    return "its instruction is gone"
                if not state.holds_answer(name, position):
                    return "its answer is gone"
                return _REPEATED if answer_scores.holds(state.scores, line) else ""
            case TagsLine(id=name):
                if name not in self.accepted:
                    return "its instruction is gone"
                return _REPEATED if task_tags.holds(state.tags, line) else ""
            case Control(after_proposal=n):
                return "" if -1 <= n < state.proposals else "its proposal is gone"
            case _ as never:
                assert_never(never)

    def _drop(self, line: Line, why: str) -> None:
        self.dropped[lines.kind_of(line), why] += 1
        if why == _REPEATED:
            return
        match line:
            case ProposalLine():
                self.dropped_proposals.append(line.n)
                self._lose(line, "instructions", line.candidates)
            case ClassificationLine() | ScoreLine() | TagsLine():
                self._lose(line)
            case InstancesLine():
                self._lose(line, "inputs" if line.form == "input_only" else "instances", line.candidates)
            case AnswerLine():
                self._lose(line, "instances", line.candidates)
            case OutputLine():
                self._lose(line, "outputs", line.candidates)
            case Header() | Control():
                pass
            case _ as never:
                assert_never(never)

    def _lose(
        self,
        line: lines.RequestLine,
        what: str = "",
        candidates: Sequence[InstructionCandidate | InstanceCandidate] = (),
    ) -> None:
        self.lost_items["completions"] += line.completion is not None
        self.lost_items[what] += sum(candidate.accepted for candidate in candidates)


def _check_header(line: Line) -> None:
    """Raise `InputError` unless the line is a header of this program's version."""
    if isinstance(line, Header) and line.version == lines.VERSION:
        return
    actual = f"of version {line.version}" if isinstance(line, Header) else f"a line of kind {lines.kind_of(line)!r}"
    raise InputError(
        f"the journal's first line is {actual}; it must be a header of version {lines.VERSION}. "
        "Restore the journal from a copy"
    )


# -------------------------------------------------------------------------------------------------- render


def render(result: RepairResult) -> str:
    """Return the result as text for a person."""
    counts, lost = result.lines, result.lost
    text = []
    if result.torn:
        text.append(
            f"the last line was cut short by a crash: {result.torn} bytes moved to {RunDirectory(result.run).torn}"
        )
    if result.copy is None and not counts.total:
        return "\n".join([*text, "the journal is empty; the command that made the run begins it again"])
    if result.copy is None:
        return "\n".join([*text, f"nothing is damaged: all {counts.total:,} lines are kept"])
    text.append(f"a copy of the damaged journal: {result.copy}")
    for damage in result.damaged[:_SHOWN]:
        text.append(f"line {damage.line} (byte {damage.byte}, {damage.bytes} bytes): removed: {damage.why}")
    if len(result.damaged) > _SHOWN:
        text.append(f"and {len(result.damaged) - _SHOWN:,} more damaged lines")
    for drop in result.dropped:
        text.append(f"{drop.lines:,} whole line(s) of kind {drop.kind!r} removed: {drop.why}")
    if lost.proposals:
        first, last = lost.proposals
        text.append(f"proposals {first} to {last} will be {'made' if result.source is None else 'copied'} again")
    if counts.added:
        text.append(f"{counts.added} line(s) added: a stop had been lifted, and the line that said so was damaged")
    text.append(
        f"lost with whole lines: {lost.completions:,} completions, {lost.instructions:,} accepted instructions, "
        f"{lost.inputs:,} inputs without answers, {lost.instances:,} instances, {lost.outputs:,} rewritten outputs; "
        f"kept: {counts.kept:,} of {counts.total:,} lines"
        + ("; what the damaged lines held is not counted" if result.damaged else "")
    )
    if result.source is None:
        text.append(f"the run continues with proposal {result.next_proposal}")
    else:
        text.append(
            "give the `selfinstruct regenerate` command of this run again: it copies lost lines from "
            f"{result.source} and requests lost outputs"
        )
    return "\n".join(text)
