"""Looking at a run: status."""

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
    """Say where a run stands, also while it is going.

    \b
    Example:
        selfinstruct status runs/first
    """
    from selfinstruct.replay import status as statuses

    found = statuses.status(run)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    from rich.console import Console

    Console(highlight=False).print(statuses.render(found))
