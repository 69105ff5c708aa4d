"""What a journal adds up to: the pool, what is left to do, and the counts. A view, rebuilt by reading the journal.

`RunState.apply` takes one line and is used alike by replay and by the running pipeline, so that a resumed run stands
exactly where the interrupted one stood. It applies recorded decisions and never decides anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from selfinstruct.errors import InputError
from selfinstruct.gc_paused import gc_paused
from selfinstruct.records import Instance, Instruction, Task
from selfinstruct.run.degenerate import degenerate
from selfinstruct.run.journal import VERSION, Line


@dataclass
class RunState:
    """The run after some number of journal lines.

    Attributes:
        header: the first line; empty before it.
        target: instructions to accept.
        pool: accepted instructions, in order of acceptance.
        pool_after: `pool_after[n]` is the pool's size after proposal n.
        is_classification: by instruction id; only instructions whose classification is known.
        num_instances: kept instances, over all instructions.
        instances: kept instances by instruction id; an empty list where none was kept or the request failed.
        classification_failed: ids whose classification failed; they get no instances.
        requests: outcomes by (kind, "committed" | "failed").
        rejected: instruction candidates by reason.
        instances_rejected: instance candidates by reason.
        failures: failed requests by (kind, reason).
        prompt_tokens, completion_tokens: over all completions.
        tokens_of: completion tokens by kind of request.
        acceptance: per proposal, (candidates, accepted).
        degenerate: per proposal, what is wrong with its completion (`degeneration.degenerate`); mostly nothing.
        completions_seen: digests of the proposals' completions.
        outputs_done: (instruction id, place of the instance) of those whose output was asked for anew.
        outputs_kept: new outputs taken, "rewritten" or "unchanged".
        outputs_rejected: new outputs by reason; the old ones stay.
        stopped: the control line of the stop that is in force, or None.
        resumed_after: proposals committed when the last stop for saturation was lifted; 0 when there was none.
    """

    header: Line = field(default_factory=dict)
    target: int = 0
    pool: list[Instruction] = field(default_factory=list)
    pool_after: list[int] = field(default_factory=list)
    is_classification: dict[str, bool] = field(default_factory=dict)
    instances: dict[str, list[Instance]] = field(default_factory=dict)
    num_instances: int = 0
    classification_failed: set[str] = field(default_factory=set)
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    instances_rejected: Counter[str] = field(default_factory=Counter)
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    tokens_of: Counter[str] = field(default_factory=Counter)
    acceptance: list[tuple[int, int]] = field(default_factory=list)
    degenerate: list[str] = field(default_factory=list)
    completions_seen: set[bytes] = field(default_factory=set)
    outputs_done: set[tuple[str, int]] = field(default_factory=set)
    outputs_kept: Counter[str] = field(default_factory=Counter)
    outputs_rejected: Counter[str] = field(default_factory=Counter)
    stopped: Line | None = None
    resumed_after: int = 0

    @property
    def proposals(self) -> int:
        """Committed proposals; also the number of the next one to commit."""
        return len(self.pool_after)

    @property
    def complete(self) -> bool:
        """Whether the target is reached and every accepted instruction has had its turn."""
        enough = bool(self.header) and len(self.pool) >= self.target
        return enough and not self.pending() and not self.outputs_left()

    @property
    def regenerates(self) -> bool:
        """Whether this is a run whose outputs are written anew (see `regenerate.py`)."""
        return "regenerate" in self.header.get("identity", {})

    def pending(self) -> list[tuple[str, Instruction]]:
        """Follow-up requests still to make, as (kind, instruction), in order of acceptance."""
        left = []
        for instruction in self.pool:
            if instruction.id in self.instances or instruction.id in self.classification_failed:
                continue
            known = instruction.id in self.is_classification
            left.append(("instances" if known else "classification", instruction))
        return left

    def outputs_left(self) -> list[tuple[Instruction, int, Instance]]:
        """Outputs still to be asked for anew, as (instruction, place of the instance, instance)."""
        if not self.regenerates:
            return []
        return [
            (instruction, place, instance)
            for instruction in self.pool
            for place, instance in enumerate(self.instances.get(instruction.id, ()))
            if (instruction.id, place) not in self.outputs_done
        ]

    def tasks(self) -> Iterator[Task]:
        """Accepted instructions that have instances, in order of acceptance."""
        for instruction in self.pool:
            instances = self.instances.get(instruction.id)
            if instances:
                is_classification = self.is_classification[instruction.id]
                yield Task(instruction.id, instruction.text, tuple(instances), is_classification, "generated")

    def candidates(self) -> tuple[int, int, int]:
        """(accepted, rejected, together) of instruction candidates."""
        accepted, rejected = len(self.pool), sum(self.rejected.values())
        return accepted, rejected, accepted + rejected

    def apply(self, line: Line) -> None:
        """Take one journal line into account."""
        kind = line["kind"]
        if kind == "run":
            self.header, self.target = line, line["num_instructions"]
            return
        if kind == "control":
            self._control(line)
            return
        completion = line.get("completion") or {}
        self.prompt_tokens += completion.get("prompt_tokens", 0)
        self.completion_tokens += completion.get("completion_tokens", 0)
        self.tokens_of[kind] += completion.get("completion_tokens", 0)
        failed = line.get("failed")
        self.requests[kind, "failed" if failed else "committed"] += 1
        if failed:
            self.failures[kind, failed["reason"]] += 1
        if kind == "proposal":
            self._proposal(line)
        elif kind == "classification":
            if failed:
                self.classification_failed.add(line["id"])
            else:
                self.is_classification[line["id"]] = line["is_classification"]
        elif kind == "instances":
            kept = []
            for candidate in line.get("candidates", ()):
                if candidate["accepted"]:
                    kept.append(Instance(candidate["input"], candidate["output"]))
                else:
                    self.instances_rejected[candidate["reason"]] += 1
            self.instances[line["id"]] = kept
            self.num_instances += len(kept)
        elif kind == "output":
            self._output(line)

    def _proposal(self, line: Line) -> None:
        if line["n"] != self.proposals:
            raise ValueError(f"it holds proposal {line['n']} where {self.proposals} is due")
        candidates = line.get("candidates", ())
        accepted = 0
        for candidate in candidates:
            if candidate["accepted"]:
                self.pool.append(Instruction(candidate["id"], candidate["instruction"], line["n"]))
                accepted += 1
            else:
                self.rejected[candidate["reason"]] += 1
        self.pool_after.append(len(self.pool))
        self.acceptance.append((len(candidates), accepted))
        self.degenerate.append(degenerate(line, self.completions_seen))

    def _output(self, line: Line) -> None:
        known, place = self.instances[line["id"]], line["instance"]
        if not 0 <= place < len(known) or (line["id"], place) in self.outputs_done:
            raise ValueError(f"it rewrites instance {place} of {line['id']}, which is not there or is done")
        self.outputs_done.add((line["id"], place))
        for candidate in line.get("candidates", ()):
            if candidate["accepted"]:
                same = candidate["output"] == known[place].output
                self.outputs_kept["unchanged" if same else "rewritten"] += 1
                known[place] = Instance(known[place].input, candidate["output"])
            else:
                self.outputs_rejected[candidate["reason"]] += 1

    def _control(self, line: Line) -> None:
        if line["event"] == "target_raised":
            self.target = line["num_instructions"]
        elif line["event"] == "resumed":
            # What the clock or a budget decided leaves no trace: the run goes on as if it had not been stopped.
            if self.stopped is not None and self.stopped["event"] == "saturated":
                self.resumed_after = self.proposals
            self.stopped = None
        elif line["event"] != "interrupted":  # A person's stop decides nothing; see `stopping.py`.
            self.stopped = line

    def summary(self) -> dict[str, Any]:
        """The counts as JSON values; they add up: candidates = accepted + the rejected by reason, and so on."""
        accepted, rejected, together = self.candidates()
        kept, dropped = self.num_instances, sum(self.instances_rejected.values())
        return {
            "target": self.target,
            "stopped": self.stopped,
            "complete": self.complete,
            "requests": {
                kind: {how: self.requests[kind, how] for how in ("committed", "failed")}
                for kind in ("proposal", "classification", "instances", *(["output"] if self.regenerates else []))
            },
            "failures": {f"{kind}: {reason}": n for (kind, reason), n in sorted(self.failures.items())},
            "candidates": {
                "total": together,
                "accepted": accepted,
                "rejected": rejected,
                "reasons": _by_count(self.rejected),
            },
            "instances": {
                "total": kept + dropped,
                "accepted": kept,
                "rejected": dropped,
                "reasons": _by_count(self.instances_rejected),
            },
            "classification": {
                "yes": sum(self.is_classification.values()),
                "no": len(self.is_classification) - sum(self.is_classification.values()),
                "failed": len(self.classification_failed),
                "pending": sum(kind == "classification" for kind, _ in self.pending()),
            },
            "outputs": self._outputs() if self.regenerates else None,
            "instructions_with_instances": sum(1 for kept_instances in self.instances.values() if kept_instances),
            "tokens": {"prompt": self.prompt_tokens, "completion": self.completion_tokens},
        }

    def _outputs(self) -> dict[str, Any]:
        """total = rewritten + unchanged + rejected + failed + pending."""
        return {
            "total": self.num_instances,
            "rewritten": self.outputs_kept["rewritten"],
            "unchanged": self.outputs_kept["unchanged"],
            "rejected": sum(self.outputs_rejected.values()),
            "reasons": _by_count(self.outputs_rejected),
            "failed": self.requests["output", "failed"],
            "pending": len(self.outputs_left()),
        }


def _by_count(reasons: Counter[str]) -> dict[str, int]:
    """The most frequent first; ties by name, so that two runs that differ in timing alone print the same."""
    return dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))


def replay(lines: Iterable[Line]) -> RunState:
    """The state after `lines`.

    Raises:
        InputError: they are whole lines, but not those of one run: a line is missing, or there twice.
    """
    state = RunState()
    with gc_paused():
        for number, line in enumerate(lines, 1):
            try:
                if (number == 1) != (line["kind"] == "run"):
                    raise ValueError("the header must be the first line, and no other")
                if number == 1 and line["version"] != VERSION:
                    raise ValueError(f"it is of version {line['version']}, this program reads version {VERSION}")
                state.apply(line)
            except (ValueError, KeyError, TypeError) as error:
                said = f"it has no {error}" if isinstance(error, KeyError) else str(error)
                raise InputError(
                    f"journal, line {number}: {said}; restore the journal from a copy, or let "
                    "`selfinstruct repair RUN` take out what is out of order"
                ) from error
    return state
