"""The `status` command."""

from __future__ import annotations

import json
from pathlib import Path

import click

from selfinstruct.cli.edge import cli
from selfinstruct.cli.shared import AS_JSON, RUN


@cli.command()
@RUN
@AS_JSON
def status(run: Path, as_json: bool) -> None:
    """Show the state of a run, also while it is running.

    \b
    Example:
        selfinstruct status runs/first
    """
    from selfinstruct.replay import status as statuses

    result = statuses.status(run)
    if as_json:
        click.echo(json.dumps(result.to_json(), indent=2))
        return
    from selfinstruct.console import PlainConsole

    PlainConsole(markup=True).print(statuses.render(result))
