"""The command line: parse, call, render.

Whatever a command does, the library does; heavy imports stay inside functions.

    edge.py     the group of all commands; errors become one message and an exit code
    shared.py   arguments and helpers that several commands have
    chain.py    demo · init · run
    stages.py   generate · export · tune · evaluate · report
    looking.py  status
    talking.py  chat
    replay.py   explain · refilter · repair
    machine.py  doctor
    tools.py    seeds check · dedup · score
"""

from __future__ import annotations

from selfinstruct.cli import chain, looking, machine, replay, stages, talking, tools
from selfinstruct.cli.edge import cli

__all__ = ["chain", "cli", "looking", "machine", "main", "replay", "stages", "talking", "tools"]


def main() -> None:
    """Entry point."""
    cli()
