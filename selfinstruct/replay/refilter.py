"""`selfinstruct refilter`: decide again on every candidate of a run, under other filters, without a GPU.

The new run directory has a journal like any other: `status`, `export`, `explain` and `generate` work on it. It holds
the same proposals with the same answers; what differs is which candidates are accepted, and so which follow-ups count:

- Candidates are decided in their order by the filters given now. One that the recorded run left undecided because its
  target had been reached stays undecided as long as the new pool has reached that target too; every other is decided
  whether or not the pool is full, and the new run's target is raised to what was accepted.
- Classifications and instances of instructions that are still accepted are carried over; instances are decided again
  (`max_instances` is a filter). Those of instructions that are no longer accepted are left out, and counted.
- Instructions that only now enter were never asked about: they are pending.
- A stop for saturation is kept when it would also have come with the new decisions, with their counts.

Under the recorded filters every line but the header comes out the same, byte for byte.

It is not the run that the new filters would have produced: filtering is order-dependent, and the prompts of later
proposals showed instructions of the recorded pool.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from selfinstruct.config.load import dump_yaml, load_config
from selfinstruct.config.schema import Config, Filters
from selfinstruct.engines.base import Request
from selfinstruct.engines.scripted import ScriptedEngine
from selfinstruct.errors import ConfigError, EngineError, InputError
from selfinstruct.formats import jsonl, seed_tasks
from selfinstruct.generation import stop_rules
from selfinstruct.generation.prompts import ParsedInstance, ProposedText, parse_proposal
from selfinstruct.generation.steps import Method, Steps, decide_instances
from selfinstruct.novelty import NoveltyIndex
from selfinstruct.records import Instruction, SeedTask
from selfinstruct.run import lines as journal_lines
from selfinstruct.run import parents
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.journal import read_raw_lines
from selfinstruct.run.lines import Line, Saturated
from selfinstruct.run.state import RunState, replay

NOT_THE_SAME = (
    "This is not the run that these filters would have produced: filtering is order-dependent, and the prompts drew on "
    "the recorded pool."
)

_NO_LIMIT = 1 << 60


def refilter(run_dir: Path, output: Path, filters: Filters) -> dict[str, Any]:
    """Write the run in `output` that comes of the one in `run_dir` under `filters`.

    Args:
        run_dir: the recorded run; another process may be writing it, and what it has committed counts.
        output: the new run directory; must hold no run.
        filters: all filters, those that stay as they were included.

    Returns:
        `run`, `output`, `filters` (by name what differs: [recorded, now]);
        `candidates`: {total, accepted_before, accepted, rejected, stayed, entered, left, stayed_out, reasons}, where
        total = stayed + entered + left + stayed_out, accepted = stayed + entered and accepted_before = stayed + left;
        `instances`: {before, lost (with their instruction), dropped and gained (decided otherwise), kept}, where
        before - lost - dropped + gained = kept;
        `answers_left_out`: {classification, instances}, of instructions that are no longer accepted;
        `pending`: {classification, instances}: requests that `generate` on the new run would make;
        `target`: of the new run; `stops_left_out`: stops that the new decisions do not bear out.

    Raises:
        InputError: no run, a damaged journal, or seeds that have changed.
        ConfigError: `output` already holds a run.
        RunLockedError: another process writes `output`.
    """
    source, new = RunDirectory(run_dir), RunDirectory(output)
    source.require_journal()
    if new.journal.exists():
        raise ConfigError(f"{output} already holds a run; give another directory with -o")
    first = next(read_raw_lines(source.journal, live=True), None)
    header = None if first is None else journal_lines.load_json(first[0])
    if header is None:
        raise InputError(f"{source.journal} is empty: there is nothing to decide again")
    recorded = load_config(source.config, {}) if source.config.exists() else None
    if recorded is None:
        raise InputError(
            f"{source.config} is missing; give the `selfinstruct generate` command of this run again to restore it"
        )
    if "regenerate" in header["identity"]:
        raise InputError(
            f"{run_dir}: its outputs were written anew; filter the run that it was made from again, "
            f"{header.get('source')}, and then `selfinstruct regenerate` the result"
        )
    tasks = seed_tasks.load_unchanged_seed_tasks(recorded.seeds, header["identity"]["seeds_sha256"])
    earlier = parents.load_unchanged_parents(recorded.parent_runs, header["identity"]).instructions
    config = recorded.model_copy(update={"filters": filters, "output_dir": str(output)})
    with new.locked():
        again = _Again(config, tasks, earlier, header, source)
        with jsonl.atomic_path(new.journal) as temporary:
            with temporary.open("wb") as stream:
                again.write(stream)
            target = {"num_instructions": again.new.target}
            jsonl.write_text(new.config, dump_yaml(config.model_copy(update=target)))
    before, now = header["identity"]["filters"], filters.model_dump(mode="json")
    changed = {name: [before.get(name), value] for name, value in now.items() if before.get(name) != value}
    return {"run": str(run_dir), "output": str(output), "filters": changed, **again.summary()}


@dataclass
class _Again:
    """One reading of the recorded journal, and the new one that is written beside it."""

    config: Config
    tasks: list[SeedTask]
    earlier: list[Instruction]
    header: dict[str, Any]
    source: RunDirectory
    old: RunState = field(default_factory=RunState)
    new: RunState = field(default_factory=RunState)
    pool: list[Instruction] = field(default_factory=list)
    accepted: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    target: int = 0
    lines: int = 0

    def __post_init__(self) -> None:
        style = self.header["resolved"]["style"]
        self.steps = Steps(
            Method.of(self.config), self.tasks, self.tasks, ScriptedEngine(_nobody_asks), style, self.earlier
        )
        self.index = NoveltyIndex((t.instruction for t in self.tasks), self.config.filters.threshold)
        self.index.add_many(i.text for i in self.earlier)

    def write(self, stream: BinaryIO) -> None:
        """Write the new journal, keeping `old` and `new` at what both journals add up to."""
        self.lines = _count_lines(self.source.journal)

        def commit(line: dict[str, Any]) -> None:
            stream.write(jsonl.dumps(line).encode("utf-8") + b"\n")
            self.new.apply(journal_lines.from_json(line))

        def watch(lines: Iterable[tuple[bytes, Line]]) -> Iterator[Line]:
            for raw, line in islice(lines, self.lines):  # Another process may be writing more.
                yield line  # `replay` has found it in order when it asks for the next.
                if (decided := self._decide(journal_lines.load_json(raw))) is not None:
                    commit(decided)

        self.old = replay(watch(read_raw_lines(self.source.journal, live=True)))
        if len(self.pool) > self.new.target:
            raised = {"event": "target_raised", "after_proposal": self.new.proposals - 1}
            commit({"kind": "control", **raised, "num_instructions": len(self.pool)})

    def summary(self) -> dict[str, Any]:
        """The counts of `refilter`."""
        counts, new = self.counts, self.new
        candidates = new.candidates()
        waiting = Counter(kind for kind, _ in new.pending())
        return {
            "candidates": {
                "total": candidates.total,
                "accepted_before": len(self.old.pool),
                "accepted": candidates.accepted,
                "rejected": candidates.rejected,
                **{move: counts[move] for move in ("stayed", "entered", "left", "stayed_out")},
                "reasons": new.candidates().reasons,
            },
            "instances": {
                "before": self.old.num_instances,
                **{move: counts[f"instances {move}"] for move in ("lost", "dropped", "gained")},
                "kept": new.num_instances,
            },
            "answers_left_out": {kind: counts[f"{kind} left out"] for kind in ("classification", "instances")},
            "pending": {kind: waiting[kind] for kind in ("classification", "instances")},
            "target": new.target,
            "stops_left_out": counts["stops left out"],
        }

    def _decide(self, line: dict[str, Any]) -> dict[str, Any] | None:
        """The line as it stands in the new journal, or None when it has no place there."""
        kind = line["kind"]
        if kind == "run":
            self.target = line["num_instructions"]
            return self._header(line)
        if kind == "control":
            return self._control(line)
        if kind == "proposal":
            return self._proposal(line)
        if line["id"] not in self.accepted:
            self.counts[f"{kind} left out"] += 1
            self.counts["instances lost"] += sum(c["accepted"] for c in line.get("candidates", ()))
            return None
        return self._instances(line) if "candidates" in line else line

    def _header(self, line: dict[str, Any]) -> dict[str, Any]:
        identity = line["identity"]
        origin = {"run": str(self.source.path.resolve()), "lines": self.lines, "filters": identity["filters"]}
        if "refiltered_from" in line:
            origin["refiltered_from"] = line["refiltered_from"]
        filters = self.config.filters.model_dump(mode="json")
        return {**line, "identity": {**identity, "filters": filters}, "refiltered_from": origin}

    def _control(self, line: dict[str, Any]) -> dict[str, Any] | None:
        if line["event"] == "target_raised":
            self.target = line["num_instructions"]
        recorded = journal_lines.from_json(line)
        if not isinstance(recorded, Saturated):
            return line
        if stop_rules.look_back(self.new, recorded.window, recorded.cause) == recorded:
            return line
        stop = stop_rules.saturated_within(self.new, recorded.window, self.config.saturation)
        self.counts["stops left out"] += stop is None
        return None if stop is None else {**line, **journal_lines.to_json(stop)}

    def _proposal(self, line: dict[str, Any]) -> dict[str, Any]:
        recorded = line.get("candidates")
        if recorded is None:
            return line
        # Where the recorded run reached its target, the rest of the proposal was left undecided.
        reached = next((k for k, c in enumerate(recorded) if c.get("reason") == "target_reached"), len(recorded))
        texts = [ProposedText(c["instruction"], self._truncated(line, k)) for k, c in enumerate(recorded)]
        decided = self._candidates(line["n"], texts[:reached], 0, _NO_LIMIT)
        decided += self._candidates(line["n"], texts[reached:], reached, self.target - len(self.pool))
        for before, now in zip(recorded, decided, strict=True):
            self.counts[_MOVES[before["accepted"], now["accepted"]]] += 1
        return {**line, "candidates": decided}

    def _candidates(self, n: int, texts: list[ProposedText], first: int, room: int) -> list[dict[str, Any]]:
        candidates = self.steps.decide_candidates(n, texts, self.index, self.pool, room, first)
        decided: list[dict[str, Any]] = list(msgspec.to_builtins(candidates))
        self.pool += [Instruction(c["id"], c["instruction"], n) for c in decided if c["accepted"]]
        self.accepted.update(c["id"] for c in decided if c["accepted"])
        return decided

    def _truncated(self, line: dict[str, Any], position: int) -> bool:
        """Whether a candidate was cut; one that was left undecided does not say so, its completion does."""
        candidates, completion = line["candidates"], line["completion"]
        reason = candidates[position].get("reason")
        if reason != "target_reached" or position < len(candidates) - 1:
            return bool(reason == "truncated")
        parsed = parse_proposal(
            completion["text"],
            truncated=completion["finish_reason"] != "stop",
            num_examples=len(line["examples"]),
            num_new=self.config.proposal.num_new,
            style=self.steps.style,
        )
        return parsed[-1].truncated if parsed else False

    def _instances(self, line: dict[str, Any]) -> dict[str, Any]:
        recorded = line["candidates"]
        parsed = [ParsedInstance(c["input"], c["output"], c.get("reason") == "truncated") for c in recorded]
        candidates = decide_instances(parsed, self.config.filters.max_instances)
        decided: list[dict[str, Any]] = list(msgspec.to_builtins(candidates))
        for before, now in zip(recorded, decided, strict=True):
            if before["accepted"] != now["accepted"]:
                self.counts["instances gained" if now["accepted"] else "instances dropped"] += 1
        return {**line, "candidates": decided}


_MOVES = {(True, True): "stayed", (False, True): "entered", (True, False): "left", (False, False): "stayed_out"}
"""What became of a candidate, by (accepted in the recorded run, accepted now)."""


def _nobody_asks(request: Request) -> Exception:
    return EngineError(f"{request.key}: nothing is asked while a run is filtered again")


def _count_lines(path: Path) -> int:
    with path.open("rb") as stream:
        return sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))


# -------------------------------------------------------------------------------------------------- render


def render(found: dict[str, Any]) -> str:
    """What `refilter` returned, for a person."""
    candidates, instances, pending = found["candidates"], found["instances"], found["pending"]
    changed = ", ".join(f"{name} {old} -> {new}" for name, (old, new) in found["filters"].items())
    moves = ", ".join(f"{candidates[move]:,} {move}" for move in ("stayed", "left", "entered"))
    instance_moves = f"{instances['lost']:,} lost with their instruction, {instances['dropped']:,} dropped, "
    instance_moves += f"{instances['gained']:,} gained"
    reasons = ", ".join(f"{reason} {n:,}" for reason, n in candidates["reasons"].items()) or "nothing"
    lines = [
        f"filters: {changed or 'as recorded'}",
        f"candidates: {candidates['total']:,}",
        f"accepted: {candidates['accepted']:,} (before {candidates['accepted_before']:,}: {moves})",
        f"rejected: {candidates['rejected']:,} ({reasons})",
        f"instances: {instances['kept']:,} (before {instances['before']:,}: {instance_moves})",
    ]
    if any(pending.values()):
        lines.append(
            f"pending: {sum(pending.values()):,} instructions have no instances yet and are left out of exports; "
            f"`selfinstruct generate --output-dir {found['output']}` fills them"
        )
    if found["stops_left_out"]:
        lines.append("the recorded stop for saturation is left out: these filters accept more")
    return "\n".join([*lines, NOT_THE_SAME])
