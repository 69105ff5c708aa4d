"""What generation left behind, in one pass over the journal: counts, samples, openings, pace.

Samples are those whose ids hash lowest: nobody picked them, and they stay as the run grows.
"""

from __future__ import annotations

import bisect
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from selfinstruct.novelty import tokenize
from selfinstruct.records import Instance
from selfinstruct.report.text import reason
from selfinstruct.run.journal import Line
from selfinstruct.run.state import RunState
from selfinstruct.text import shorten

SAMPLES = 8
"""Accepted instructions shown."""
SAMPLES_PER_REASON = 2
"""Rejected candidates shown for each reason."""
_MOST_FREQUENT = 12
_PAUSE_S = 60.0
"""Two measurements further apart than this belong to two sittings; they are 5 s apart while a run goes."""


@dataclass(frozen=True)
class Accepted:
    """An accepted instruction with its instances; `nearest` names the seed most like it."""

    id: str
    text: str
    is_classification: bool
    instances: list[Instance]
    nearest: str
    score: float | None


@dataclass(frozen=True)
class Rejected:
    """A rejected candidate with its evidence. `near` is the text it comes close to, where that is the reason."""

    id: str
    text: str
    evidence: dict[str, str]
    near_id: str = ""
    near: str = ""
    score: float | None = None


@dataclass(frozen=True)
class Part:
    """So many of a step, for a reason or with an outcome; `kept` says whether they go on to the next step."""

    name: str
    count: int
    kept: bool = False


@dataclass(frozen=True)
class Step:
    """One step of the funnel; its parts sum up to its total."""

    title: str
    total: int
    parts: list[Part]


@dataclass(frozen=True)
class Openings:
    """The commonest first words of the accepted instructions, and how many different ones there are."""

    words: int
    distinct: int
    common: list[tuple[str, int]]


@dataclass(frozen=True)
class Pace:
    """Wall-clock measurements, in seconds of work: pauses between sittings are left out.

    `points` are (seconds, completion tokens per second, accepted); `sittings` are the seconds at which one began.
    """

    began: str
    ended: str
    seconds: float
    sittings: list[float]
    points: list[tuple[float, float, int]]


@dataclass
class Growth:
    """The run's generation; `similarity` holds each accepted instruction's ROUGE-L F to its nearest seed."""

    state: RunState
    funnel: list[Step] = field(default_factory=list)
    similarity: list[float] = field(default_factory=list)
    accepted: list[Accepted] = field(default_factory=list)
    rejected: dict[str, list[Rejected]] = field(default_factory=dict)
    rejected_instances: dict[str, list[Rejected]] = field(default_factory=dict)
    openings: list[Openings] = field(default_factory=list)
    mean_words: dict[str, float | None] = field(default_factory=dict)
    empty_inputs: int = 0
    pace: Pace | None = None


class _Sample:
    """The `size` items whose names hash lowest."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._found: list[tuple[bytes, str, Any]] = []

    def offer(self, name: str, item: Any) -> None:
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
        bisect.insort(self._found, (digest, name, item), key=lambda found: found[:2])
        del self._found[self._size :]

    def items(self) -> list[Any]:
        """In the order of their names, which is the order of the run."""
        return [item for _, _, item in sorted(self._found, key=lambda f: f[1])]


def grow(lines: Iterable[Line], seeds: dict[str, str], metrics: Path) -> Growth:
    """Read a journal.

    Args:
        lines: the journal's.
        seeds: instruction by seed id, as far as known; rejected candidates name those they come close to.
        metrics: the file of measurements; need not exist.
    """
    growth = Growth(RunState())
    state, nearest = growth.state, dict[str, Any]()
    rejected: dict[str, _Sample] = defaultdict(lambda: _Sample(SAMPLES_PER_REASON))
    instances: dict[str, _Sample] = defaultdict(lambda: _Sample(SAMPLES_PER_REASON))
    for line in lines:
        state.apply(line)
        candidates = line.get("candidates", ())
        if line["kind"] == "proposal":
            for candidate in candidates:
                if not candidate["accepted"]:
                    rejected[candidate["reason"]].offer(candidate["id"], candidate)
                elif near := candidate.get("nearest_seed"):
                    nearest[candidate["id"]] = near
        elif line["kind"] == "instances":
            for k, candidate in enumerate(candidates):
                if not candidate["accepted"]:
                    instances[candidate["reason"]].offer(f"{line['id']}-{k:04d}", (line["id"], candidate))
    texts = seeds | {instruction.id: instruction.text for instruction in state.pool}
    growth.similarity = [near["score"] for near in nearest.values()]
    growth.accepted = _accepted_samples(state, nearest)
    for name, _ in sorted(state.rejected.items(), key=_by_count):
        if name != "target_reached":
            growth.rejected[name] = [_rejected(candidate, texts) for candidate in rejected[name].items()]
    for name, _ in sorted(state.instances_rejected.items(), key=_by_count):
        growth.rejected_instances[name] = [_rejected_instance(of, c, texts) for of, c in instances[name].items()]
    growth.openings = [_openings(state, words) for words in (1, 2)]
    growth.mean_words = _mean_words(state)
    growth.empty_inputs = sum(not i.input for kept in state.instances.values() for i in kept)
    growth.funnel = _funnel(state)
    growth.pace = _pace(read_metrics(metrics))
    return growth


def _by_count(item: tuple[str, int]) -> tuple[int, str]:
    """The most frequent first; ties by name."""
    return -item[1], item[0]


def _accepted_samples(state: RunState, nearest: dict[str, Any]) -> list[Accepted]:
    sample = _Sample(SAMPLES)
    for instruction in state.pool:
        if state.instances.get(instruction.id):
            sample.offer(instruction.id, instruction)
    return [
        Accepted(
            i.id,
            shorten(i.text),
            state.is_classification[i.id],
            [Instance(shorten(k.input), shorten(k.output)) for k in state.instances[i.id][:3]],
            nearest.get(i.id, {}).get("id", ""),
            nearest.get(i.id, {}).get("score"),
        )
        for i in sample.items()
    ]


def _rejected(candidate: dict[str, Any], texts: dict[str, str]) -> Rejected:
    evidence = dict(candidate.get("evidence") or {})
    near = evidence.pop("nearest", None) or {}
    shown = {shorten(name, 40): shorten(value, 120) for name, value in list(evidence.items())[:6]}
    near_id = near.get("id", "")
    near_text = shorten(texts.get(near_id, ""))
    return Rejected(candidate["id"], shorten(candidate["instruction"]), shown, near_id, near_text, near.get("score"))


def _rejected_instance(instruction_id: str, candidate: dict[str, Any], texts: dict[str, str]) -> Rejected:
    shown = {"instruction": texts.get(instruction_id, ""), "input": candidate["input"], "output": candidate["output"]}
    return Rejected(instruction_id, "", {name: shorten(text, 240, 6) for name, text in shown.items() if text})


def _openings(state: RunState, words: int) -> Openings:
    def opening(text: str) -> str:
        return " ".join(word.strip(".,:;!?\"'()*").lower() for word in text.split(maxsplit=words)[:words])

    found = Counter(opening(instruction.text) for instruction in state.pool)
    common = sorted(found.items(), key=_by_count)[:_MOST_FREQUENT]
    return Openings(words, len(found), [(shorten(opening, 40), count) for opening, count in common])


def _mean_words(state: RunState) -> dict[str, float | None]:
    """Mean words of what was accepted; of inputs, those that are not empty."""
    kept = [instance for found in state.instances.values() for instance in found]
    texts = {
        "instruction": [i.text for i in state.pool],
        "input": [i.input for i in kept if i.input],
        "output": [i.output for i in kept],
    }
    return {name: fmean(len(tokenize(t)) for t in found) if found else None for name, found in texts.items()}


def _funnel(state: RunState) -> list[Step]:
    """The way from proposals to instances. The parts of each step sum up to its total."""

    def failed(kind: str) -> list[Part]:
        of_kind = [(name, n) for (k, name), n in state.failures.items() if k == kind]
        return [Part(name, n) for name, n in sorted(of_kind, key=_by_count)]

    def lost(reasons: dict[str, int]) -> list[Part]:
        return [Part(name, n) for name, n in reasons.items()]

    counts = state.summary()
    accepted, classified = counts["candidates"]["accepted"], counts["classification"]
    known = classified["yes"] + classified["no"]
    some = counts["instructions_with_instances"]
    answered = counts["requests"]["instances"]["committed"]
    return [
        Step(
            "Proposals asked for",
            state.proposals,
            [Part("answered with candidates", counts["requests"]["proposal"]["committed"], True), *failed("proposal")],
        ),
        Step(
            "Candidate instructions",
            counts["candidates"]["total"],
            [Part("accepted", accepted, True), *lost(counts["candidates"]["reasons"])],
        ),
        Step(
            "Accepted instructions",
            accepted,
            _present(
                Part("classification tasks", classified["yes"], True),
                Part("other tasks", classified["no"], True),
                *failed("classification"),
                Part("waiting for their classification", classified["pending"]),
            ),
        ),
        Step(
            "Instructions asked for instances",
            known,
            _present(
                Part("with at least one instance kept", some, True),
                Part("all instances rejected", answered - some),
                *failed("instances"),
                Part("waiting for their instances", known - len(state.instances)),
            ),
        ),
        Step(
            "Instances written",
            counts["instances"]["total"],
            [Part("kept", counts["instances"]["accepted"], True), *lost(counts["instances"]["reasons"])],
        ),
        *_outputs(counts["outputs"], lost, failed("output")),
    ]


def _outputs(
    outputs: dict[str, Any] | None, lost: Callable[[dict[str, int]], list[Part]], failed: list[Part]
) -> list[Step]:
    """What became of outputs that another model wrote anew. Where none was taken the old one stays."""
    if outputs is None:
        return []
    taken = [Part("rewritten", outputs["rewritten"], True), Part("came out the same", outputs["unchanged"], True)]
    kept = [
        Part(f"old one kept: {reason(part.name)}", part.count, True) for part in [*lost(outputs["reasons"]), *failed]
    ]
    return [
        Step("Outputs written anew", outputs["total"], [*taken, *kept, *_present(Part("waiting", outputs["pending"]))])
    ]


def _present(*parts: Part) -> list[Part]:
    return [part for part in parts if part.count]


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The measurements; what a crash or a running writer left incomplete is left out."""
    rows = []
    for raw in path.read_bytes().split(b"\n") if path.exists() else ():
        try:
            row = json.loads(raw)
        except ValueError:
            continue
        # A row with an event tells of a restart of the engine, not of a pace.
        if isinstance(row, dict) and isinstance(row.get("time"), int | float) and "event" not in row:
            rows.append(row)
    return rows


def _pace(rows: list[dict[str, Any]]) -> Pace | None:
    if len(rows) < 2:
        return None
    seconds, sittings, points = 0.0, [0.0], []
    for before, row in zip([rows[0], *rows], rows, strict=False):
        step = row["time"] - before["time"]
        if 0 <= step <= _PAUSE_S:
            seconds += step
        else:
            sittings.append(seconds)
        points.append((seconds, float(row.get("completion_tokens_per_s") or 0), int(row.get("accepted") or 0)))
    return Pace(_when(rows[0]["time"]), _when(rows[-1]["time"]), seconds, sittings, points)


def _when(unix_seconds: float) -> str:
    return f"{datetime.fromtimestamp(unix_seconds, UTC):%Y-%m-%d %H:%M} UTC"
