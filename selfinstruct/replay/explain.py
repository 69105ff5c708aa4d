"""`selfinstruct explain`: why a candidate was accepted or rejected, read from the journal.

    >>> explain(Path("runs/first"), "Name three rivers of Africa.")["candidates"][0]["reason"]
    'near_duplicate'

The recorded decision is shown with its evidence and never made again; what is added is exact and follows from the
journal: the texts that came nearest among everything that was earlier than the candidate, by the same ROUGE-L F.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from selfinstruct.config.load import load_config
from selfinstruct.config.schema import Config, Filters
from selfinstruct.errors import InputError
from selfinstruct.formats import jsonl, seed_tasks
from selfinstruct.generation.filters import heuristics
from selfinstruct.generation.prompts import one_line
from selfinstruct.novelty import NoveltyIndex
from selfinstruct.records import SeedTask
from selfinstruct.run import parents
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.journal import Line, read_lines
from selfinstruct.run.state import RunState, replay
from selfinstruct.text import visible

_CANDIDATE_ID = re.compile(r"p\d{6,}-\d{2,}")
_BATCH = 256
_SHOWN = 5


@dataclass
class _Found:
    """A candidate that was asked for: where it stands, and how much of the pool is earlier."""

    number: int
    line: Line
    position: int
    earlier: int

    @property
    def candidate(self) -> dict[str, Any]:
        return dict(self.line["candidates"][self.position])


@dataclass
class _Journal:
    """What one reading of the journal gives: where the run stands, and what was asked for."""

    query: str
    state: RunState = field(default_factory=RunState)
    found: list[_Found] = field(default_factory=list)
    follow_ups: dict[str, dict[str, tuple[int, Line]]] = field(default_factory=dict)
    _accepted: int = 0

    def read(self, path: Path) -> None:
        """Read the journal, which another process may be writing."""
        self.state = replay(self._watch(read_lines(path, live=True)))

    def _watch(self, lines: Iterable[Line]) -> Iterator[Line]:
        for number, line in enumerate(lines, 1):
            yield line  # `replay` has found it in order when it asks for the next.
            if line["kind"] == "proposal":
                self._proposal(number, line)
            elif line.get("id") in self.follow_ups:
                kind = f"output {line['instance']}" if line["kind"] == "output" else line["kind"]
                self.follow_ups[line["id"]][kind] = (number, line)

    def _proposal(self, number: int, line: Line) -> None:
        for position, candidate in enumerate(line.get("candidates", ())):
            if self.query in (candidate["id"], candidate["instruction"]):
                self.found.append(_Found(number, line, position, self._accepted))
                self.follow_ups[candidate["id"]] = {}
            self._accepted += bool(candidate["accepted"])


class _Pool:
    """Seeds and accepted instructions by their place, as the novelty filter knows them."""

    def __init__(self, config: Config, state: RunState) -> None:
        identity = state.header["identity"]
        self.filters = Filters.model_validate(identity["filters"])
        self.seeds: list[SeedTask] = seed_tasks.load_unchanged_seed_tasks(config.seeds, identity["seeds_sha256"])
        self.state = state
        self.earlier = parents.load_unchanged_parents(config.earlier, identity).instructions
        self.index = NoveltyIndex((s.instruction for s in self.seeds), self.filters.threshold)
        self.index.add_many(i.text for i in (*self.earlier, *state.pool))
        self.before = len(self.seeds) + len(self.earlier)

    def entry(self, place: int, score: float) -> dict[str, Any]:
        """A neighbour as JSON values."""
        if place < len(self.seeds):
            seed = self.seeds[place]
            return {"id": seed.id, "origin": "seed", "instruction": seed.instruction, "score": score}
        if place < self.before:
            origin, found = parents.ORIGIN, self.earlier[place - len(self.seeds)]
        else:
            origin, found = "generated", self.state.pool[place - self.before]
        return {"id": found.id, "origin": origin, "instruction": found.text, "score": score}

    def similar(self, text: str, top: int, earlier: int) -> list[dict[str, Any]]:
        """The `top` nearest of the seeds, what earlier runs accepted, and the first `earlier` of this one."""
        return [self.entry(*near) for near in self.index.nearest(text, top, before=self.before + earlier)]


def explain(run_dir: Path, query: str, *, top: int = 1) -> dict[str, Any]:
    """Everything that the run knows of one text.

    Args:
        run_dir: the run directory; another process may be writing it.
        query: an instruction, or a candidate's id (`p000012-03`). Whitespace counts as one space.
        top: similar instructions to list with each candidate, at least 1.

    Returns:
        `query`; `candidates`: those with this id or exactly this text, in order of proposal: `id`, `instruction`,
        `accepted`, `reason`, `evidence`, `journal_line`, `proposal`, `examples` (of its prompt), `similar` (the
        `top` nearest among all that was earlier, best first: `id`, `origin`, `instruction`, exact ROUGE-L F `score`),
        and of an accepted one `classification` and `instances`, each with its `journal_line`, or null while pending,
        and `outputs`, those written anew;
        `seed`: the seed task with this instruction or id, or null;
        `now`: for a text that no proposal wrote, what the filters would say to it now (`accepted`, `reason`,
        `evidence`, `similar`), else null.

    Raises:
        InputError: no run, a damaged journal, seeds that have changed, or an id that the run does not hold.
    """
    config, _ = _open(run_dir)
    journal = _Journal(one_line(query))
    journal.read(RunDirectory(run_dir).journal)
    pool = _Pool(config, journal.state)
    seed = next((s for s in pool.seeds if journal.query in (s.id, one_line(s.instruction))), None)
    written = bool(journal.found) or seed is not None
    if not written and _CANDIDATE_ID.fullmatch(journal.query):
        last = journal.state.proposals - 1
        raise InputError(f"{run_dir}: no candidate {journal.query}; the run's last proposal is p{last:06d}")
    texts = _example_texts(RunDirectory(run_dir).journal, journal, pool)
    return {
        "query": query,
        "candidates": [_candidate(found, journal, pool, texts, top) for found in journal.found],
        "seed": None if seed is None else {"id": seed.id, "instruction": seed.instruction},
        "now": None if written else _now(journal.query, pool, top),
    }


def similar_all(run_dir: Path, output: Path, *, sample: int | None = None, top: int = 10, seed: int = 42) -> int:
    """For every accepted instruction, or some drawn at random, the most similar earlier ones; as the paper records.

    Written as JSON Lines in order of acceptance: `id`, `instruction`, `most_similar` (as `similar` of `explain`). The
    paper's code also averages over the whole pool; that would mean a hundred thousand scores for each row and says
    little, so it is left out.

    Args:
        run_dir: the run directory.
        output: the file to write, atomically.
        sample: instructions to look at; all by default.
        top: how many similar ones.
        seed: of the draw.

    Returns:
        Rows written.

    Raises:
        InputError: as `explain`.
    """
    config, _ = _open(run_dir)
    state = replay(read_lines(RunDirectory(run_dir).journal, live=True))
    pool = _Pool(config, state)
    places = range(len(state.pool))
    if sample is not None and sample < len(places):
        places = sorted(random.Random(seed).sample(places, sample))  # type: ignore[assignment]

    def rows() -> Iterator[dict[str, Any]]:
        for start in range(0, len(places), _BATCH):
            batch = places[start : start + _BATCH]
            texts = [state.pool[place].text for place in batch]
            earlier = [pool.before + place for place in batch]
            for place, near in zip(batch, pool.index.nearest_many(texts, top, before=earlier), strict=True):
                own = state.pool[place]
                yield {"id": own.id, "instruction": own.text, "most_similar": [pool.entry(*n) for n in near]}

    return jsonl.write(output, rows())


def _open(run_dir: Path) -> tuple[Config, RunDirectory]:
    run = RunDirectory(run_dir)
    run.require_journal()
    if not run.config.exists():
        raise InputError(
            f"{run.config} is missing; give the `selfinstruct generate` command of this run again to restore it"
        )
    return load_config(run.config, {}), run


def _candidate(found: _Found, journal: _Journal, pool: _Pool, texts: dict[str, str], top: int) -> dict[str, Any]:
    candidate = found.candidate
    accepted = candidate["accepted"]
    told = {
        "id": candidate["id"],
        "instruction": candidate["instruction"],
        "accepted": accepted,
        "reason": None if accepted else candidate["reason"],
        "evidence": {"nearest_seed": candidate.get("nearest_seed")} if accepted else candidate["evidence"],
        "journal_line": found.number,
        "proposal": found.line["n"],
        "examples": [{"id": name, "instruction": texts.get(name)} for name in found.line["examples"]],
        "similar": pool.similar(candidate["instruction"], top, found.earlier),
    }
    if accepted:
        told |= _follow_ups(journal.follow_ups[candidate["id"]])
    return told


def _follow_ups(lines: dict[str, tuple[int, Line]]) -> dict[str, Any]:
    told: dict[str, Any] = {"classification": None, "instances": None, "outputs": []}
    for kind, (number, line) in lines.items():
        if line["kind"] == "output":
            about = {"journal_line": number, "instance": line["instance"], "failed": line.get("failed")}
            told["outputs"].append(about | {"answer": line.get("completion"), "candidates": line.get("candidates", [])})
            continue
        told[kind] = {"journal_line": number, "failed": line.get("failed"), "answer": line.get("completion")}
        if kind == "classification":
            told[kind]["is_classification"] = line.get("is_classification")
        else:
            told[kind] |= {"form": line.get("form"), "candidates": line.get("candidates", [])}
    return told


def _example_texts(path: Path, journal: _Journal, pool: _Pool) -> dict[str, str]:
    """The texts of the examples that the prompts showed, by id.

    After `refilter` an example need not be in the pool: then it is looked up among all candidates.
    """
    wanted = {name for found in journal.found for name in found.line["examples"]}
    texts = {s.id: s.instruction for s in pool.seeds if s.id in wanted}
    texts |= {i.id: i.text for i in (*pool.earlier, *journal.state.pool) if i.id in wanted}
    if wanted - texts.keys():
        for line in read_lines(path, live=True):
            for candidate in line.get("candidates", ()) if line["kind"] == "proposal" else ():
                if candidate["id"] in wanted:
                    texts.setdefault(candidate["id"], candidate["instruction"])
    return texts


def _now(text: str, pool: _Pool, top: int) -> dict[str, Any]:
    """What the filters would say to a text after everything that the run has accepted."""
    near = pool.similar(text, top, len(pool.state.pool))
    rejection = heuristics(pool.filters, [s.instruction for s in pool.seeds])(text)
    if rejection is not None:
        return {"accepted": False, "reason": rejection.reason, "evidence": rejection.evidence, "similar": near}
    verdict = pool.index.accept(text)
    if verdict.accepted or verdict.nearest is None:
        return {"accepted": True, "reason": None, "evidence": {}, "similar": near}
    found = pool.entry(*verdict.nearest)
    evidence = {"nearest": {"id": found["id"], "score": found["score"]}}
    return {"accepted": False, "reason": verdict.reason, "evidence": evidence, "similar": near}


# -------------------------------------------------------------------------------------------------- render


def render(found: dict[str, Any]) -> str:
    """What `explain` returned, for a person."""
    blocks = [_render_candidate(candidate) for candidate in found["candidates"][:_SHOWN]]
    more = len(found["candidates"]) - _SHOWN
    if more > 0:
        blocks.append(f"{more} more proposals wrote this text; --json shows all")
    if found["seed"]:
        blocks.append(f"{visible(found['seed']['id'])} is a seed task: {visible(found['seed']['instruction'])}")
    if found["now"]:
        now = found["now"]
        said = "accept it" if now["accepted"] else f"reject it: {now['reason']} {_values(now['evidence'])}"
        blocks.append("\n".join([f"No proposal wrote this text. The filters would now {said}", *_similar(now)]))
    return "\n\n".join(blocks)


def _render_candidate(told: dict[str, Any]) -> str:
    verdict = "accepted" if told["accepted"] else f"rejected: {told['reason']} {_values(told['evidence'])}"
    lines = [
        visible(told["instruction"]),
        f"  {told['id']}  {verdict}",
        f"  journal line {told['journal_line']}, proposal {told['proposal']}; its prompt showed:",
        *(f"    {visible(e['id'])}  {visible(e['instruction'] or '(not in this journal)')}" for e in told["examples"]),
        *_similar(told),
    ]
    if told["accepted"]:
        lines += [_render_classification(told["classification"]), *_render_instances(told["instances"])]
        lines += [line for output in told["outputs"] for line in _render_output(output)]
    return "\n".join(lines)


def _similar(told: dict[str, Any]) -> list[str]:
    if not told["similar"]:
        return ["  nothing was earlier"]
    heading = "nearest earlier instruction" if len(told["similar"]) == 1 else "most similar earlier instructions"
    return [
        f"  {heading} (ROUGE-L F):",
        *(
            f"    {near['score']:.4f}  {visible(near['id'])}  {visible(near['instruction'])}"
            for near in told["similar"]
        ),
    ]


def _render_classification(told: dict[str, Any] | None) -> str:
    if told is None:
        return "  classification: pending"
    if told["failed"]:
        return f"  classification: failed: {_failure(told['failed'])} (journal line {told['journal_line']})"
    answer = "yes" if told["is_classification"] else "no"
    return f"  classification: {answer} (journal line {told['journal_line']})"


def _render_instances(told: dict[str, Any] | None) -> list[str]:
    if told is None:
        return ["  instances: none asked for yet"]
    if told["failed"]:
        return [f"  instances: failed: {_failure(told['failed'])} (journal line {told['journal_line']})"]
    return [f"  instances (journal line {told['journal_line']}):", *_render_candidates(told)]


def _render_output(told: dict[str, Any]) -> list[str]:
    title = f"  output of instance {told['instance'] + 1} written anew (journal line {told['journal_line']})"
    if told["failed"]:
        return [f"{title}: failed: {_failure(told['failed'])}; the old one stays"]
    return [f"{title}{'' if told['candidates'][0]['accepted'] else ': the old one stays'}", *_render_candidates(told)]


def _render_candidates(told: dict[str, Any]) -> list[str]:
    lines = []
    for candidate in told["candidates"]:
        verdict = "kept" if candidate["accepted"] else f"{candidate['reason']} {_values(candidate['evidence'])}".strip()
        lines.append(f"    [{verdict}]  {visible(candidate['input'])!s} -> {visible(candidate['output'])}")
    return lines


def _failure(failed: dict[str, Any]) -> str:
    return visible(f"{failed['reason']} {failed['detail']}".strip())


def _values(evidence: dict[str, Any]) -> str:
    """Evidence in brackets; a neighbour by its id and score."""

    def one(value: Any) -> str:
        return f"{value['id']}, {value['score']:.4f}" if isinstance(value, dict) else str(value)

    known = {name: value for name, value in evidence.items() if value is not None}
    return visible(f"({'; '.join(f'{name}: {one(value)}' for name, value in known.items())})" if known else "")
