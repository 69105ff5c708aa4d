"""`selfinstruct repair`: take the damage out of a journal, so that the run can go on.

A journal is damaged when a line before its end is no journal line, or when its lines are not those of one run in order
(a line is missing, or there twice). Reading refuses such a journal, and nothing mends it by itself: this is a separate
command, it keeps a copy (`journal.jsonl.damaged-1`, `-2`, ...), and it says what is lost.

What stands is kept byte for byte. What goes, and why:

- damaged lines: nobody knows what they said;
- proposals after a missing one. They were decided against a pool that held what the missing one accepted, and
  later prompts may show that; and numbers must run without a gap, because proposal n's prompt is made from the pool
  after proposal n - window. They are asked again;
- classifications and instances of instructions that are accepted by no kept proposal;
- instances whose classification is gone: the form of the question depended on it, and the export needs it;
- lines that repeat an earlier one; a second header;
- control lines (a raised target, a stop) that tell of a proposal that is gone. The next `generate` writes them again as
  far as they still apply.

One line may be added: when proposals follow a stop, and a damaged line lies between, then that was the line that lifted
the stop; without it the run would stand still for good.

A journal whose header is damaged cannot be repaired: it says what the run is, and only the engine knows some of that.
Damage that leaves a line well-formed (a flipped bit inside a text) cannot be seen.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfinstruct.errors import InputError
from selfinstruct.formats import jsonl
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.journal import VERSION, Line, parse_line, read_lines, set_torn_tail_aside
from selfinstruct.run.state import RunState, replay

_SHOWN = 20


def repair(run_dir: Path) -> dict[str, Any]:
    """Take the damage out of the journal of the run in `run_dir`; does nothing where there is none.

    Returns:
        `run`; `copy`: the copy of the journal as it was, or null when nothing was damaged;
        `torn`: bytes of a cut last line that was set aside (which is no damage: `generate` does the same);
        `lines`: {total, kept, damaged, dropped, added}, where total = kept + damaged + dropped;
        `damaged`: [{line, byte, bytes, why}]; `dropped`: [{kind, why, lines}];
        `lost`: what went with the dropped lines: {proposals: [first, last] or null, completions, instructions,
        instances}; what damaged lines held is not in it;
        `next_proposal`: the number of the proposal with which the run goes on.

    Raises:
        InputError: no run directory; or the header is damaged, or of another version of this program.
        RunLockedError: another process writes the directory.
    """
    run = RunDirectory(run_dir)
    run.require_journal()
    with run.locked():
        torn = set_torn_tail_aside(run)
        walk, copy = _Walk(), None
        for _ in walk.kept(run.journal):
            pass
        if not walk.unharmed:
            copy, walk = _keep_copy(run), _Walk()
            with jsonl.atomic_path(run.journal) as temporary:
                with temporary.open("wb") as stream:
                    stream.writelines(walk.kept(copy))
                replay(read_lines(temporary))  # What it refuses now would be refused afterwards, too.
    return {"run": str(run_dir), "copy": copy and str(copy), "torn": torn, **walk.report()}


def _keep_copy(run: RunDirectory) -> Path:
    """Copy the journal, durably, to the first free `journal.jsonl.damaged-N`."""
    number = 1
    while (copy := run.path / f"{run.damaged.name}-{number}").exists():
        number += 1
    with jsonl.atomic_path(copy) as temporary:
        shutil.copyfile(run.journal, temporary)
    return copy


@dataclass
class _Walk:
    """One walk along a journal: which lines stand, and what becomes of the others.

    Attributes:
        state: after the lines that stand.
        accepted: ids of instructions that kept proposals accepted.
        damage_since_stop: whether a damaged line lies between the stop in force and here.
    """

    state: RunState = field(default_factory=RunState)
    accepted: set[str] = field(default_factory=set)
    total: int = 0
    added: int = 0
    damaged: list[dict[str, Any]] = field(default_factory=list)
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)
    cut: list[int] = field(default_factory=list)
    lost: Counter[str] = field(default_factory=Counter)
    damage_since_stop: bool = False

    @property
    def unharmed(self) -> bool:
        """Whether every line stands."""
        return not self.damaged and not self.dropped

    def kept(self, path: Path) -> Iterator[bytes]:
        """The lines that stand, as they are in the file, and the one that may have to be added."""
        offset = 0
        with path.open("rb") as stream:
            for number, raw in enumerate(stream, 1):
                self.total += 1
                try:
                    line = parse_line(raw)
                    _check_form(line)
                except ValueError as error:
                    self._note_damage(number, offset, len(raw), error)
                else:
                    yield from self._place(number, line, raw)
                offset += len(raw)

    def _note_damage(self, number: int, offset: int, size: int, error: ValueError) -> None:
        if number == 1:
            raise InputError(
                f"the journal's first line, which says what the run is, is damaged: {error}. It cannot be made again: "
                "restore the journal from a copy, or start anew with `selfinstruct generate --overwrite`"
            )
        self.damaged.append({"line": number, "byte": offset, "bytes": size, "why": str(error)})
        self.damage_since_stop = True

    def _place(self, number: int, line: Line, raw: bytes) -> Iterator[bytes]:
        kind = line["kind"]
        if number == 1:
            if kind != "run" or line["version"] != VERSION:
                found = f"of version {line['version']}" if kind == "run" else f"a line of kind {kind!r}"
                raise InputError(
                    f"the journal begins with {found} where a header of version {VERSION} is due; "
                    "restore the journal from a copy"
                )
        elif why := self._misplaced(line):
            self._drop(line, why)
            return
        if kind == "proposal":
            if self.state.stopped is not None and self.damage_since_stop:
                yield self._resumed()
            self.accepted.update(c["id"] for c in line.get("candidates", ()) if c["accepted"])
        self.state.apply(line)
        if kind == "control" and self.state.stopped is line:
            self.damage_since_stop = False
        yield raw

    def _resumed(self) -> bytes:
        line = {"kind": "control", "event": "resumed", "after_proposal": self.state.proposals - 1}
        self.state.apply(line)
        self.added += 1
        return jsonl.dumps(line).encode() + b"\n"

    def _misplaced(self, line: Line) -> str:
        """Why the line does not stand after those that do; empty when it does."""
        kind, state = line["kind"], self.state
        if kind == "run":
            return "a second header"
        if kind == "control":
            return "tells of a proposal that is gone" if line["after_proposal"] >= state.proposals else ""
        if kind == "proposal":
            if line["n"] > state.proposals:
                return "comes after a missing proposal"
            return "repeats an earlier line" if line["n"] < state.proposals else ""
        if line["id"] not in self.accepted:
            return "its instruction is gone"
        if kind == "instances":
            if line["id"] not in state.is_classification:
                return "its classification is gone"
            return "repeats an earlier line" if line["id"] in state.instances else ""
        known = line["id"] in state.is_classification or line["id"] in state.classification_failed
        return "repeats an earlier line" if known else ""

    def _drop(self, line: Line, why: str) -> None:
        kind = line["kind"]
        self.dropped[kind, why] += 1
        if why == "repeats an earlier line":
            return
        accepted = sum(bool(c["accepted"]) for c in line.get("candidates", ()))
        self.lost["completions"] += "completion" in line
        if kind == "proposal":
            self.cut.append(line["n"])
            self.lost["instructions"] += accepted
        elif kind == "instances":
            self.lost["instances"] += accepted

    def report(self) -> dict[str, Any]:
        """The part of `repair`'s result that the lines tell."""
        dropped = sum(self.dropped.values())
        return {
            "lines": {
                "total": self.total,
                "kept": self.total - len(self.damaged) - dropped,
                "damaged": len(self.damaged),
                "dropped": dropped,
                "added": self.added,
            },
            "damaged": self.damaged,
            "dropped": [{"kind": kind, "why": why, "lines": n} for (kind, why), n in self.dropped.items()],
            "lost": {
                "proposals": [min(self.cut), max(self.cut)] if self.cut else None,
                **{what: self.lost[what] for what in ("completions", "instructions", "instances")},
            },
            "next_proposal": self.state.proposals,
        }


def _check_form(line: Line) -> None:
    """Raise `ValueError` unless the line has the form of its kind, so that replay can take it wherever it belongs."""
    kind = line["kind"]
    try:
        if kind == "run":
            RunState().apply(line)
            _require(line, identity=dict, resolved=dict, num_instructions=int, version=int)
        elif kind == "control":
            _require(line, event=str, after_proposal=int)
            RunState().apply(line)
        elif kind == "proposal":
            _require(line, n=int, examples=list)
            RunState().apply({**line, "n": 0})
            for position, candidate in enumerate(line.get("candidates", ())):
                _require(candidate, id=str, instruction=str, accepted=bool)
                if candidate["id"] != f"p{line['n']:06d}-{position:02d}":
                    raise ValueError(f"candidate {position} of proposal {line['n']} is called {candidate['id']!r}")
        elif kind in ("classification", "instances"):
            _require(line, id=str)
            RunState().apply(line)
        else:
            raise ValueError(f"no line is of kind {kind!r}")
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it has no {error}" if isinstance(error, KeyError) else str(error)) from error


def _require(values: dict[str, Any], **kinds: type) -> None:
    for name, kind in kinds.items():
        if type(values[name]) is not kind:  # `True` is no number here.
            raise ValueError(f"{name!r} is {values[name]!r:.60}, which is no {kind.__name__}")


# -------------------------------------------------------------------------------------------------- render


def render(found: dict[str, Any]) -> str:
    """What `repair` returned, for a person."""
    told = []
    if found["torn"]:
        told.append(f"the last line was cut short by a crash: {found['torn']} bytes moved to journal.jsonl.torn")
    lines, lost = found["lines"], found["lost"]
    if found["copy"] is None:
        return "\n".join([*told, f"nothing is damaged: all {lines['total']:,} lines stand"])
    told.append(f"the journal as it was is kept as {found['copy']}")
    for damage in found["damaged"][:_SHOWN]:
        told.append(
            f"line {damage['line']} (byte {damage['byte']}, {damage['bytes']} bytes): taken out: {damage['why']}"
        )
    if len(found["damaged"]) > _SHOWN:
        told.append(f"and {len(found['damaged']) - _SHOWN:,} more damaged lines")
    for drop in found["dropped"]:
        told.append(f"{drop['lines']:,} whole line(s) of kind {drop['kind']!r} taken out: {drop['why']}")
    if lost["proposals"]:
        first, last = lost["proposals"]
        told.append(f"proposals {first} to {last} will be asked again")
    if lines["added"]:
        told.append(f"{lines['added']} line(s) added: a stop had been lifted, and the line that said so was damaged")
    told.append(
        f"lost with whole lines: {lost['completions']:,} completions, {lost['instructions']:,} accepted instructions, "
        f"{lost['instances']:,} instances; kept: {lines['kept']:,} of {lines['total']:,} lines"
    )
    return "\n".join([*told, f"the run goes on with proposal {found['next_proposal']}"])
