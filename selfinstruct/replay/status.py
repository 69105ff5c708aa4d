"""The state of a run: `status` collects it, `render` shows it to a person.

Both only read files and never use the lock, so they work in another terminal while the run goes on.
"""

from __future__ import annotations

import shlex
import socket
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from selfinstruct.errors import InputError
from selfinstruct.formats import jsonl
from selfinstruct.generation import stop_rules
from selfinstruct.records import TRAIN
from selfinstruct.run import lines
from selfinstruct.run.classification_share import odd_share
from selfinstruct.run.control_lines import DeadlineReached, Interruption
from selfinstruct.run.counting import run_counts
from selfinstruct.run.counts import (
    AnswerCounts,
    OutputCounts,
    ProposerCounts,
    RunCounts,
    ScorerCounts,
    TaggerCounts,
    TopicCounts,
)
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.lines import RefilteredFrom
from selfinstruct.run.spending import Spending, spending, spending_rows
from selfinstruct.run.state import RunState
from selfinstruct.run.without_instances import without_instances
from selfinstruct.text import duration, shorten

if TYPE_CHECKING:
    from rich.console import RenderableType

_FRESH_S = 60.0
"""Older measurements are not shown; a running generation writes one every 5 s."""
_TAIL_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Stage:
    """The state of a stage. `note` says why it is not done, if that is known."""

    done: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class Writer:
    """The process that holds the run directory; `alive` is None if that cannot be known (another machine)."""

    pid: int
    host: str
    alive: bool | None


@dataclass(frozen=True, slots=True)
class Regeneration:
    """The model that rewrites the outputs, and the run that they come from."""

    model: str
    source: str


@dataclass(frozen=True, slots=True)
class Rates:
    """The last measurements of generation (see `Measurement`).

    `eta_s` has the seconds until the run is complete; None if that cannot be known.
    """

    completion_tokens_per_s: float
    accepted_per_s: float
    eta_s: int | None
    prompt_tokens_per_s: float = 0.0
    running: int = 0
    waiting: int = 0
    driver_cpu: float = 0.0


@dataclass(frozen=True, slots=True)
class RunStatus:
    """Everything that `selfinstruct status` shows.

    Attributes:
        run: the run directory.
        counts: the counts of the journal.
        interruption: the signal that ended the program, if the journal's last line says so.
        reason: why generation ended before its target, as a sentence; None if it did not.
        remark: what is odd about the classifications, as a sentence; None if nothing is.
        cut: what the last `run` with a deadline left out or shortened, as sentences.
        proposals: number of proposals committed so far.
        pending: number of follow-up requests still to make.
        stages: the stages generate, export, tune, evaluate and report.
        regenerate: how outputs are rewritten; None for other runs.
        writer: the process that holds the run directory; None if there is none.
        refiltered_from: the run that `refilter` made this one from.
        rates: the speed of generation while it runs; None otherwise.
        spending: tokens by kind of request, for each instruction and row; hours of the engine and their cost.
    """

    run: str
    counts: RunCounts
    interruption: Interruption | None
    reason: str | None
    remark: str | None
    cut: list[str]
    proposals: int
    pending: int
    stages: dict[str, Stage]
    regenerate: Regeneration | None
    writer: Writer | None
    refiltered_from: RefilteredFrom | None
    rates: Rates | None
    spending: Spending

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, with the counts among the other keys. `stopped` is also the line of an interruption."""
        values = asdict(self)
        run, _, interruption = values.pop("run"), values.pop("counts"), values.pop("interruption")
        counts = self.counts.to_json()
        if counts["stopped"] is None and interruption is not None:
            counts["stopped"] = lines.to_json(interruption)
        return {
            "run": run,
            **counts,
            **values,
            "refiltered_from": msgspec.to_builtins(self.refiltered_from),
        }


def status(run_dir: Path, gpu_price: float | None = None) -> RunStatus:
    """Return the state of a run.

    Args:
        run_dir: the run directory.
        gpu_price: what the engine's GPUs cost per hour, all together.

    Raises:
        InputError: `run_dir` is not a run directory, or its journal is damaged.
    """
    run = RunDirectory(run_dir)
    state = run.state(live=True)
    writer = _writer(run)
    going = writer is not None and writer.alive is not False
    return RunStatus(
        run=str(run_dir),
        counts=run_counts(state),
        interruption=None if going else state.interruption,
        reason=(None if going else stop_rules.reason(run, state)) or None,
        remark=odd_share(state) or None,
        cut=run.cut_by_deadline(),
        proposals=state.proposals,
        pending=len(state.pending()),
        stages={
            "generate": _generate(state, going),
            "export": _export(run, state),
            "tune": _tune(run),
            "evaluate": _evaluate(run),
            "report": _report(run),
        },
        regenerate=_regenerate(state),
        writer=writer,
        refiltered_from=state.header.refiltered_from,
        rates=_rates(run) if going else None,
        spending=spending(state, run.metrics(), gpu_price),
    )


# -------------------------------------------------------------------------------------------------- stages


def _regenerate(state: RunState) -> Regeneration | None:
    if not state.header.regenerates:
        return None
    return Regeneration(state.header.identity["regenerate"]["model"], str(state.header.source))


def _generate(state: RunState, going: bool) -> Stage:
    if state.complete:
        return Stage(True)
    if state.stopped is not None and len(state.pool) < state.target:
        return Stage(False, stop_rules.note(state.stopped))
    if going:
        return Stage(False, "going on")
    return Stage(False, "interrupted: the same command continues it")


def _export(run: RunDirectory, state: RunState) -> Stage:
    if not run.dataset.counts_path.exists():
        return Stage(False, without_instances(state))
    try:
        counts = run.dataset.export_counts()
    except InputError:
        return Stage(False, f"{run.dataset.counts_path.name} is damaged")
    if not counts.rows[TRAIN]:
        return Stage(False, without_instances(state) or "it holds no training rows")
    if counts.is_current(state):
        return Stage(True)
    written = f"{counts.instructions.accepted} instructions and {counts.instances.accepted} instances"
    if counts.outputs_left is not msgspec.UNSET:
        written += f", with {counts.outputs_left} outputs still to rewrite"
    return Stage(False, f"out of date: written at {written}")


def _evaluate(run: RunDirectory) -> Stage:
    if not run.evaluation.scores_path.exists():
        return Stage(False)
    try:
        run.evaluation.scores()
    except InputError:
        return Stage(False, f"{run.evaluation.scores_path.name} is damaged")
    return Stage(True)


def _tune(run: RunDirectory) -> Stage:
    if (failure := run.model.failure) is not None:
        return Stage(False, f"failed: {shorten(failure, 200)}")
    if not run.model.record_path.exists():
        return Stage(False)
    try:
        state = run.model.training_record().state
    except InputError:
        return Stage(False, f"{run.model.record_path.name} is damaged")
    return Stage(state == "finished", "" if state == "finished" else f"recorded as {state}")


def _report(run: RunDirectory) -> Stage:
    if not run.report.exists():
        return Stage(False)
    sources = (run.journal, run.model.record_path, run.evaluation.scores_path)
    written = run.report.stat().st_mtime_ns
    newer = [path.name for path in sources if path.exists() and path.stat().st_mtime_ns > written]
    return Stage(not newer, f"out of date: {', '.join(newer)} changed since" if newer else "")


# --------------------------------------------------------------------------------------- writer and rates


def _writer(run: RunDirectory) -> Writer | None:
    """Return the process that holds the directory, from the file next to the lock.

    To try the lock itself could make a writer fail that starts at this moment.
    """
    try:
        owner = jsonl.read_json(run.owner)
    except InputError:
        return None
    if type(owner.get("pid")) is not int or owner["pid"] <= 0:
        return None
    here = owner.get("host") == socket.gethostname()
    return Writer(owner["pid"], str(owner.get("host")), _lives(owner["pid"], run.owner) if here else None)


def _lives(pid: int, note: Path) -> bool:
    """Return whether the process that wrote the note still runs. A later process with the same id does not count."""
    import psutil

    try:
        process = psutil.Process(pid)
        began, noted = process.create_time(), note.stat().st_mtime
        # The clocks of the kernel and the file system differ slightly.
        return process.status() != psutil.STATUS_ZOMBIE and began <= noted + 2.0
    except (psutil.NoSuchProcess, OSError):
        return False
    except psutil.AccessDenied:
        return True


def _rates(run: RunDirectory) -> Rates | None:
    """Return the last measurement, or None if it is too old."""
    last = next(reversed(list(run.metrics(_TAIL_BYTES))), None)
    if last is None or time.time() - last.time > _FRESH_S:
        return None
    return Rates(
        last.completion_tokens_per_s,
        last.accepted_per_s,
        eta_s=None if last.left_s is None else round(last.left_s),
        prompt_tokens_per_s=last.prompt_tokens_per_s,
        running=last.running,
        waiting=last.waiting,
        driver_cpu=last.driver_cpu,
    )


# -------------------------------------------------------------------------------------------------- render


def render(result: RunStatus) -> RenderableType:
    """Return the state of a run as something that rich can print."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Column, Table

    candidates, instances, classified = result.counts.candidates, result.counts.instances, result.counts.classification
    table = Table.grid("", Column(overflow="fold"), padding=(0, 2))  # A path is folded, not cut.
    done = min(1.0, candidates.accepted / max(result.counts.target, 1))
    filled = round(done * 30)
    table.add_row("run", escape(result.run))
    table.add_row("writer", escape(_writer_text(result.writer)))
    if result.refiltered_from:
        table.add_row("filtered", f"again, from the candidates of {escape(result.refiltered_from.run)}")
    bar = f"[green]{'━' * filled}[/green]{'╌' * (30 - filled)}"
    table.add_row("accepted", f"{bar} {candidates.accepted:,} of {result.counts.target:,}")
    table.add_row("candidates", f"{candidates.total:,} from {result.proposals:,} proposals")
    for name, count in _proposers(result.counts.proposers).items():
        table.add_row(escape(name), count)
    if topics := result.counts.topics:
        table.add_row("topics", escape(_topics(topics)))
    table.add_row("rejected", f"{candidates.rejected:,}{_reasons(candidates.reasons)}")
    waiting = f", {classified.pending:,} waiting" if classified.pending else ""
    failed = f", {classified.failed:,} unclear" if classified.failed else ""
    table.add_row("classification", f"{classified.yes:,} yes, {classified.no:,} no{failed}{waiting}")
    if result.remark:
        table.add_row("", escape(result.remark))
    kept = f"{instances.accepted:,} kept of {instances.total:,}"
    some = f"for {result.counts.instructions_with_instances:,} instructions"
    table.add_row("instances", f"{kept}, {some}{_reasons(instances.reasons)}")
    if warnings := result.counts.warnings:
        table.add_row("warnings", escape(", ".join(f"{name} {n:,}" for name, n in warnings.items())))
    if (answers := result.counts.answers) is not None:
        table.add_row("answers", f"{_answers_text(answers)}{_reasons(answers.reasons)}")
    for sentence in _scores(result.counts.scores):
        table.add_row("scores", escape(sentence))
    for sentence in _tags(result.counts.tags):
        table.add_row("tags", escape(sentence))
    if (outputs := result.counts.outputs) is not None:
        table.add_row("outputs", f"{_outputs_text(outputs)}{_reasons(outputs.reasons)}")
    if result.counts.failures:
        again = sum(counts.asked_again for counts in result.counts.requests.values())
        failures = ", ".join(f"{name} {n:,}" for name, n in result.counts.failures.items())
        table.add_row("failed", escape(failures + (f"; {again:,} of them asked again" if again else "")))
    tokens = result.counts.tokens
    table.add_row("tokens", f"{tokens.completion:,} written, {tokens.prompt:,} read in prompts")
    for name, sentence in spending_rows(result.spending).items():
        table.add_row(escape(name), escape(sentence))
    for name, sentence in _speed_rows(result.rates).items() if result.rates else ():
        table.add_row(name, sentence)
    if result.reason:
        table.add_row("stopped", escape(result.reason))
    for sentence in result.cut:
        table.add_row("cut", escape(sentence))
    stages = Table.grid(padding=(0, 2))
    for name, stage in result.stages.items():
        mark = "[green]done[/green]" if stage.done else "[dim]not yet[/dim]"
        stages.add_row(name, mark, escape(stage.note))
    following = next_command(result)
    return Group(table, "", stages, *([f"\nnext: [bold]{escape(following)}[/bold]"] if following else []))


def brief(result: RunStatus) -> RunStatus:
    """Return what a small screen has room for: without reasons, and without rows for single proposers and steps."""
    counts = result.counts
    counts = replace(
        counts,
        candidates=replace(counts.candidates, reasons={}),
        instances=replace(counts.instances, reasons={}),
        answers=counts.answers and replace(counts.answers, reasons={}),
        outputs=counts.outputs and replace(counts.outputs, reasons={}),
        warnings={},
        failures={},
        proposers={},
        topics={},
        scores=[],
        tags=[],
    )
    return replace(result, counts=counts, spending=replace(result.spending, kinds={}))


def _speed_rows(rates: Rates) -> dict[str, str]:
    """Return what the last measurement says, by the name of the row."""
    left = f", about {duration(rates.eta_s)} left" if rates.eta_s else ""
    accepted = f"{rates.accepted_per_s * 60:,.1f} accepted/min"
    requests = f"{rates.running:,} requests computed, {rates.waiting:,} waiting"
    return {
        "speed": f"{rates.completion_tokens_per_s:,.0f} tokens/s, {accepted}{left}",
        "engine": f"{requests}, {rates.prompt_tokens_per_s:,.0f} tokens/s read in prompts",
        "driver": f"{rates.driver_cpu:.0%} of a core",
    }


def in_one_line(counts: RunCounts) -> str:
    """Return what came of all candidates in one line, for the end of a preview."""
    candidates, instances = counts.candidates, counts.instances
    why = ", ".join(
        f"{name} {n:,}" for name, n in (Counter(candidates.reasons) + Counter(instances.reasons)).most_common()
    )
    return (
        f"{candidates.accepted:,} of {candidates.total:,} instructions accepted, {instances.accepted:,} of "
        f"{instances.total:,} instances kept" + (f"; rejected: {why}" if why else "")
    )


def next_command(result: RunStatus) -> str | None:
    """Return the command that continues the run.

    None: another process runs it, everything is done, or it has nothing to go on with.
    """
    path = shlex.quote(result.run)
    if result.writer and result.writer.alive:
        return None
    stop = result.counts.stopped if result.counts.candidates.accepted < result.counts.target else None
    if again := result.regenerate:
        if result.pending or (result.counts.outputs and result.counts.outputs.pending):
            of, model = shlex.quote(again.source), shlex.quote(again.model)
            return f"selfinstruct regenerate {of} --model {model} --output-dir {path}"
    elif not result.stages["generate"].done and (stop is None or isinstance(stop, DeadlineReached)):
        return f"selfinstruct generate --output-dir {path}"
    following = next((name for name in ("export", "tune", "evaluate", "report") if not result.stages[name].done), None)
    if following is None or (following == "export" and not result.counts.instances.accepted):
        return None
    return f"selfinstruct {following} {path}"


def _writer_text(writer: Writer | None) -> str:
    if writer is None:
        return "none"
    who = f"process {writer.pid} on {writer.host}"
    return {True: who, False: f"none ({who} has ended)", None: f"{who} (another machine: state unknown)"}[writer.alive]


def _proposers(counts: dict[str, ProposerCounts]) -> dict[str, str]:
    """Return a row for each proposer; none when all proposals are continued lists, as the rows above say enough."""
    if counts.keys() <= {"list"}:
        return {}
    return {
        f"  by {name}": f"{count.candidates:,} from {count.asked:,} proposals, {count.accepted:,} accepted, "
        f"{count.completion_tokens:,} tokens"
        for name, count in counts.items()
    }


def _scores(counts: list[ScorerCounts]) -> list[str]:
    """Return a sentence for each scorer."""
    return [
        f"by {' '.join(filter(None, (of.scorer, of.model)))}: {of.scored:,} answers"
        + (f", mean {of.mean:.2f}, quartiles {', '.join(f'{q:.2f}' for q in of.quartiles)}" if of.quartiles else "")
        + (f"; {of.failed:,} without" if of.failed else "")
        for of in counts
    ]


def _tags(counts: list[TaggerCounts]) -> list[str]:
    """Return a sentence for each model that tagged the tasks, with its most frequent categories."""
    return [
        f"by {of.model}: {of.tagged:,} tasks"
        + (f"; {of.failed:,} without" if of.failed else "")
        + (f"; {of.pending:,} waiting" if of.pending else "")
        + "".join(f", {name} {n:,}" for name, n in list(of.values["category"].items())[:4])
        for of in counts
    ]


def _topics(counts: dict[str, TopicCounts]) -> str:
    """Return how evenly the subjects are covered, with the one that has most and the one that has fewest."""
    by_number = sorted(counts.items(), key=lambda item: (item[1].accepted, item[0]))
    covered = sum(count.accepted > 0 for count in counts.values())
    ends = {subject: count.accepted for subject, count in (by_number[0], by_number[-1])}
    shown = ", ".join(f"{shorten(subject, 40)} {number:,}" for subject, number in ends.items())
    return f"{covered:,} of {len(counts):,} asked have an instruction (fewest and most: {shown})"


def _answers_text(answers: AnswerCounts) -> str:
    parts = {"kept": answers.kept, "rejected": answers.rejected, "failed": answers.failed, "waiting": answers.pending}
    return f"to {answers.total:,} inputs: {', '.join(f'{count:,} {name}' for name, count in parts.items() if count)}"


def _outputs_text(outputs: OutputCounts) -> str:
    waiting = f", {outputs.pending:,} waiting" if outputs.pending else ""
    taken = f"{outputs.rewritten:,} rewritten, {outputs.unchanged:,} unchanged"
    return f"{taken}, {outputs.rejected + outputs.failed:,} old ones kept{waiting}"


def _reasons(reasons: dict[str, int]) -> str:
    from rich.markup import escape

    return f"  [dim]{escape(', '.join(f'{name} {n:,}' for name, n in reasons.items()))}[/dim]" if reasons else ""
