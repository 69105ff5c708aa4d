"""Where a run stands: `status` gathers it as JSON values, `render` shows it to a person.

Both only read, so they can be asked from another terminal while the run is going; the lock is never touched.
"""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from selfinstruct.generation import stop_rules
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.state import RunState

if TYPE_CHECKING:
    from rich.console import RenderableType

_FRESH_S = 60.0
"""Measurements older than this say nothing about now; a running generation writes one every 5 s."""
_TAIL_BYTES = 65_536


def status(run_dir: Path) -> dict[str, Any]:
    """The run's counts, stages, writer and rates.

    Returns:
        What `RunState.counts` returns, and
        `run`: the directory; `proposals`: committed so far; `pending`: follow-up requests still to make;
        `reason`: why generation ended before its target, in a sentence, or null;
        `cut`: what the last `run` with a deadline left out or shortened, in sentences;
        `stages`: for each of generate, export, tune, evaluate, report {"done": bool, "note": why not, if known};
        `writer`: {"pid", "host", "alive": true | false | null where it cannot be known} of the process that holds the
        directory, or null;
        `refiltered_from`: {"run", "lines", "filters"} of the run that `refilter` made this one from, or null;
        `regenerate`: {"model", "source"} of a run whose outputs are written anew, or null;
        `rates`: the last measurements of a generation that is going on, with `eta_s`, or null.

    Raises:
        InputError: no run directory, or a damaged journal.
    """
    run = RunDirectory(run_dir)
    state = run.state(live=True)
    writer = _writer(run)
    going = writer is not None and writer["alive"] is not False
    return {
        "run": str(run_dir),
        **state.counts().to_json(),
        "reason": (None if going else stop_rules.reason(run, state)) or None,
        "cut": run.cut_by_deadline(),
        "proposals": state.proposals,
        "pending": len(state.pending()),
        "stages": _stages(run, state, going),
        "regenerate": _regenerate(state),
        "writer": writer,
        "refiltered_from": msgspec.to_builtins(state.header.refiltered_from),
        "rates": _rates(run, state) if going else None,
    }


# -------------------------------------------------------------------------------------------------- stages


def _stages(run: RunDirectory, state: RunState, going: bool) -> dict[str, dict[str, Any]]:
    return {
        "generate": _generate(state, going),
        "export": _export(run, state),
        "tune": _tune(run),
        "evaluate": _stage(run.evaluation.scores_path.exists()),
        "report": _report(run),
    }


def _regenerate(state: RunState) -> dict[str, str] | None:
    if not state.header.regenerates:
        return None
    return {"model": state.header.identity["regenerate"]["model"], "source": str(state.header.source)}


def _stage(done: bool, note: str = "") -> dict[str, Any]:
    return {"done": done, "note": note}


def _generate(state: RunState, going: bool) -> dict[str, Any]:
    if state.complete:
        return _stage(True)
    if going:
        return _stage(False, "going on")
    if state.stopped is not None and len(state.pool) < state.target:
        return _stage(False, stop_rules.note(state.stopped))
    return _stage(False, "interrupted: the same command continues it")


def _export(run: RunDirectory, state: RunState) -> dict[str, Any]:
    counts = _json(run.dataset.counts_path)
    if counts is None:
        return _stage(False)
    try:
        exported = (counts["instructions"]["accepted"], counts["instances"]["accepted"])
    except (KeyError, TypeError):
        return _stage(False, f"{run.dataset.counts_path.name} is damaged")
    if exported == (len(state.pool), state.num_instances):
        return _stage(True)
    return _stage(False, f"out of date: written at {exported[0]} instructions and {exported[1]} instances")


def _tune(run: RunDirectory) -> dict[str, Any]:
    record = _json(run.model.record_path)
    if record is None:
        return _stage(False)
    state = str(record.get("state", "finished"))
    return _stage(state == "finished", "" if state == "finished" else f"recorded as {state}")


def _report(run: RunDirectory) -> dict[str, Any]:
    if not run.report.exists():
        return _stage(False)
    tells_of = (run.journal, run.model.record_path, run.evaluation.scores_path)
    written = run.report.stat().st_mtime_ns
    newer = [path.name for path in tells_of if path.exists() and path.stat().st_mtime_ns > written]
    return _stage(not newer, f"out of date: {', '.join(newer)} changed since" if newer else "")


def _json(path: Path) -> dict[str, Any] | None:
    """A JSON object; None when there is none to be read."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


# --------------------------------------------------------------------------------------- writer and rates


def _writer(run: RunDirectory) -> dict[str, Any] | None:
    """Who holds the directory, from the note beside the lock.

    To try the lock itself could make a writer fail that starts at this moment.
    """
    note = run.owner
    owner = _json(note)
    if owner is None or not isinstance(owner.get("pid"), int):
        return None
    here = owner.get("host") == socket.gethostname()
    return {"pid": owner["pid"], "host": str(owner.get("host")), "alive": _lives(owner["pid"], note) if here else None}


def _lives(pid: int, note: Path) -> bool:
    """Whether the process that wrote the note still runs; a later process with the same number is another one."""
    import psutil

    try:
        process = psutil.Process(pid)
        began, noted = process.create_time(), note.stat().st_mtime
        # The clocks of kernel and file system differ a little.
        return process.status() != psutil.STATUS_ZOMBIE and began <= noted + 2.0
    except (psutil.NoSuchProcess, OSError):
        return False
    except psutil.AccessDenied:
        return True


def _rates(run: RunDirectory, state: RunState) -> dict[str, Any] | None:
    """The last measurement, when it is recent."""
    last = next(reversed(list(run.metrics(_TAIL_BYTES))), None)
    if last is None or time.time() - last.time > _FRESH_S:
        return None
    left = max(0, state.target - len(state.pool))
    return {
        "completion_tokens_per_s": last.completion_tokens_per_s,
        "accepted_per_s": last.accepted_per_s,
        "eta_s": round(left / last.accepted_per_s) if last.accepted_per_s > 0 else None,
    }


# -------------------------------------------------------------------------------------------------- render


def render(found: dict[str, Any]) -> RenderableType:
    """What `status` returned, for a terminal."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    from selfinstruct.text import duration

    candidates, instances, classified = found["candidates"], found["instances"], found["classification"]
    table = Table.grid(padding=(0, 2))
    done = min(1.0, candidates["accepted"] / max(found["target"], 1))
    filled = round(done * 30)
    table.add_row("run", escape(found["run"]))
    table.add_row("writer", escape(_writer_text(found["writer"])))
    if found["refiltered_from"]:
        table.add_row("filtered", f"again, from the candidates of {escape(found['refiltered_from']['run'])}")
    bar = f"[green]{'━' * filled}[/green]{'╌' * (30 - filled)}"
    table.add_row("accepted", f"{bar} {candidates['accepted']:,} of {found['target']:,}")
    table.add_row("candidates", f"{candidates['total']:,} from {found['proposals']:,} proposals")
    table.add_row("rejected", f"{candidates['rejected']:,}{_reasons(candidates['reasons'])}")
    waiting = f", {classified['pending']:,} waiting" if classified["pending"] else ""
    failed = f", {classified['failed']:,} unclear" if classified["failed"] else ""
    table.add_row("classification", f"{classified['yes']:,} yes, {classified['no']:,} no{failed}{waiting}")
    kept = f"{instances['accepted']:,} kept of {instances['total']:,}"
    some = f"for {found['instructions_with_instances']:,} instructions"
    table.add_row("instances", f"{kept}, {some}{_reasons(instances['reasons'])}")
    if found["outputs"]:
        outputs = found["outputs"]
        waiting = f", {outputs['pending']:,} waiting" if outputs["pending"] else ""
        taken = f"{outputs['rewritten']:,} rewritten, {outputs['unchanged']:,} came out the same"
        kept = f", {outputs['rejected'] + outputs['failed']:,} old ones kept{waiting}"
        table.add_row("outputs", f"{taken}{kept}{_reasons(outputs['reasons'])}")
    if found["failures"]:
        table.add_row("failed", escape(", ".join(f"{name} {n:,}" for name, n in found["failures"].items())))
    table.add_row("tokens", f"{found['tokens']['completion']:,} written, {found['tokens']['prompt']:,} read in prompts")
    if found["rates"]:
        rates = found["rates"]
        left = f", about {duration(rates['eta_s'])} left" if rates["eta_s"] else ""
        accepted = f"{rates['accepted_per_s'] * 60:,.1f} accepted/min"
        table.add_row("speed", f"{rates['completion_tokens_per_s']:,.0f} tokens/s, {accepted}{left}")
    if found["reason"]:
        table.add_row("stopped", escape(found["reason"]))
    for sentence in found["cut"]:
        table.add_row("cut", escape(sentence))
    stages = Table.grid(padding=(0, 2))
    for name, stage in found["stages"].items():
        mark = "[green]done[/green]" if stage["done"] else "[dim]not yet[/dim]"
        stages.add_row(name, mark, escape(stage["note"]))
    following = next_command(found)
    return Group(table, "", stages, *([f"\nnext: [bold]{escape(following)}[/bold]"] if following else []))


def next_command(found: dict[str, Any]) -> str | None:
    """The command that takes the run on; None while another process does so, or when everything is done."""
    import shlex

    path = shlex.quote(found["run"])
    if found["writer"] and found["writer"]["alive"]:
        return None
    stopped = found["stopped"] and found["candidates"]["accepted"] < found["target"]
    if again := found["regenerate"]:
        if found["pending"] or found["outputs"]["pending"]:
            of, model = shlex.quote(again["source"]), shlex.quote(again["model"])
            return f"selfinstruct regenerate {of} --model {model} --output-dir {path}"
    elif not found["stages"]["generate"]["done"] and not (stopped and found["stopped"]["event"] != "deadline"):
        return f"selfinstruct generate --output-dir {path}"
    for name in ("export", "tune", "evaluate", "report"):
        if not found["stages"][name]["done"]:
            return f"selfinstruct {name} {path}"
    return None


def _writer_text(writer: dict[str, Any] | None) -> str:
    if writer is None:
        return "none"
    who = f"process {writer['pid']} on {writer['host']}"
    return {True: who, False: f"none ({who} is gone)", None: f"{who} (cannot be seen from here)"}[writer["alive"]]


def _reasons(reasons: dict[str, int]) -> str:
    return f"  [dim]{', '.join(f'{name} {n:,}' for name, n in reasons.items())}[/dim]" if reasons else ""
