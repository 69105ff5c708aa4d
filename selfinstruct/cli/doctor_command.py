"""The machine: doctor."""

from __future__ import annotations

import json
import sys

import click

from selfinstruct.cli.edge import cli
from selfinstruct.cli.shared import AS_JSON


@cli.command()
@AS_JSON
def doctor(as_json: bool) -> None:
    """Say what this machine can run.

    Checks Python, the libraries and their versions, GPU, compiler, memory, disk, and the demo model, and names a remedy
    for each problem. The exit code is 0 if the demo can run, else 4.

    \b
    Example:
        selfinstruct doctor
        selfinstruct doctor --json
    """
    from selfinstruct.checks import doctor as library

    checks = library.examine()
    click.echo(json.dumps(library.as_json(checks), indent=2) if as_json else library.render(checks))
    sys.exit(0 if library.can_run_demo(checks) else 4)
