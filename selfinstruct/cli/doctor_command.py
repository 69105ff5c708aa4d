"""The machine: doctor."""

from __future__ import annotations

import json
import sys

import click

from selfinstruct.cli.edge import cli
from selfinstruct.cli.shared import AS_JSON


@cli.command()
@AS_JSON
@click.option("--endpoint", multiple=True, metavar="URL", help="Also ask this OpenAI-compatible endpoint. Repeatable.")
def doctor(as_json: bool, endpoint: tuple[str, ...]) -> None:
    """Say what this machine can run.

    Checks Python, the libraries and their versions, GPU, compiler, memory, disk, and the demo model, and names a remedy
    for each problem. The exit code is 0 if the demo can run and all endpoints are there, else 4.

    \b
    Example:
        selfinstruct doctor
        selfinstruct doctor --json
        selfinstruct doctor --endpoint http://gpu1:8000/v1
    """
    from selfinstruct.checks import doctor as library

    checks = [*library.examine(), *library.endpoints(endpoint)]
    click.echo(json.dumps(library.as_json(checks), indent=2) if as_json else library.render(checks))
    sys.exit(4 if any(check.verdict == "failed" for check in checks) else 0)
