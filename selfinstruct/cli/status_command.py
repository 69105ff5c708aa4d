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
@click.option(
    "--gpu-price", type=click.FloatRange(min=0), default=None, help="Price of all GPUs of the engine together per hour."
)
def status(run: Path, as_json: bool, gpu_price: float | None) -> None:
    """Show the state of a run, also while it is running.

    \b
    Example:
        selfinstruct status runs/first
        selfinstruct status runs/first --gpu-price 2.50
    """
    from selfinstruct.replay import status as statuses

    result = statuses.status(run, gpu_price)
    if as_json:
        click.echo(json.dumps(result.to_json(), indent=2))
        return
    from selfinstruct.console import PlainConsole

    PlainConsole(markup=True).print(statuses.render(result))
