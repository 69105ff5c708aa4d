"""Open a run directory for writing: recover what is there, refuse another run's, discard on request."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from selfinstruct.config import earlier_defaults
from selfinstruct.console import console
from selfinstruct.engines import processes
from selfinstruct.errors import ConfigError
from selfinstruct.formats import jsonl
from selfinstruct.run import ownership
from selfinstruct.run.appending import set_torn_tail_aside
from selfinstruct.run.directory import RunDirectory
from selfinstruct.run.state import RunState
from selfinstruct.signals import leave, on_signals


@contextlib.contextmanager
def opened(
    run: RunDirectory, identity: dict[str, Any], settings: str, reads: Sequence[str], *, overwrite: bool
) -> Iterator[RunState]:
    """Lock a run directory that is empty or holds the run of this identity; yield the state of its journal.

    A run that is to be overwritten stays until the new one begins: the caller discards it when its engine has started.

    Args:
        run: the directory.
        identity: the run's, as in its header.
        settings: the YAML text of the configuration; written where there is a run, once the block has succeeded.
        reads: what the run reads; it must not be overwritten.
        overwrite: begin a new run, whatever run is there.

    Raises:
        ConfigError: it holds another run, or files that are no run's and that a run would write over.
    """
    with on_signals(leave), run.locked():
        end_leftovers(run)
        if overwrite:
            ownership.require_overwritable(run, reads)
            yield RunState()
            return
        state = recover(run)
        if state.begun:
            refuse_other_run(run.path, state.header.identity, identity)
        else:
            ownership.require_free(run)
        yield state
        if state.begun:
            jsonl.write_text(run.config_path, settings)


def end_leftovers(run: RunDirectory) -> None:
    """End engine processes that a killed run left behind: they hold the GPU's memory."""
    ended, left = processes.end_leftovers(run.engine)
    if ended:
        console.print(f"ended engine processes that the last start of this run left behind: {_listed(ended)}")
    if left:
        console.print(f"engine processes of the last start of this run cannot be ended: {_listed(left)}")


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def recover(run: RunDirectory) -> RunState:
    """Return the state of the journal in the directory; a torn last line is set aside and reported."""
    if not run.journal.exists():
        return RunState()
    torn = set_torn_tail_aside(run.journal, run.torn)
    if torn:
        console.print(
            f"the journal's last line was cut short by a crash: {torn} bytes moved to {run.torn}; it is asked again"
        )
    return run.state()


def recorded_identity(run: RunDirectory) -> dict[str, Any]:
    """Return the identity of the run in the directory; an empty one if there is none."""
    return run.header().identity if run.journal.exists() else {}


def refuse_other_run(directory: Path, recorded: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raise `ConfigError`, with all differences, unless the recorded identity is the wanted one.

    Args:
        directory: of the run.
        recorded: identity of the run that is there.
        wanted: identity of the run that the command describes.
    """
    recorded, wanted = earlier_defaults.completed(recorded), earlier_defaults.completed(wanted)
    if recorded != wanted:
        raise ConfigError(
            f"{directory} holds a run made with other settings:\n{difference(recorded, wanted)}\n"
            "Give the recorded values to continue it, another --output-dir to keep both, or --overwrite to start "
            "from scratch"
        )


def difference(recorded: dict[str, Any], wanted: dict[str, Any], prefix: str = "") -> str:
    """Return one line for each value that differs.

    Args:
        recorded: JSON values of the journal.
        wanted: those of this call.
        prefix: of the keys' names.
    """
    lines = []
    for key in dict.fromkeys([*recorded, *wanted]):
        old, new = recorded.get(key), wanted.get(key)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            lines.append(difference(old, new, f"{prefix}{key}."))
        else:
            lines.append(f"  {prefix}{key}: recorded {old!r}, now {new!r}")
    return "\n".join(lines)
