"""The `status` command."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import NoReturn

import click

from selfinstruct.cli.edge import cli
from selfinstruct.cli.shared import AS_JSON, GPU_PRICE, RUN

_INTERVAL_S = 2.0
pause = time.sleep


@cli.command()
@RUN
@AS_JSON
@GPU_PRICE
@click.option("--watch", is_flag=True, help="Show it on one screen that follows the run, until Ctrl-C.")
def status(run: Path, as_json: bool, gpu_price: float | None, watch: bool) -> None:
    """Show the state of a run, also while it is running.

    \b
    Example:
        selfinstruct status runs/first
        selfinstruct status runs/first --gpu-price 2.50
        selfinstruct status runs/first --watch
    """
    from selfinstruct.replay import status as statuses

    if watch and as_json:
        raise click.UsageError("--watch shows a screen; leave out --json")
    if watch:
        _watch(run, gpu_price)
    result = statuses.status(run, gpu_price)
    if as_json:
        click.echo(json.dumps(result.to_json(), indent=2))
        return
    from selfinstruct.console import PlainConsole

    PlainConsole(markup=True).print(statuses.render(result))


def _watch(run: Path, gpu_price: float | None) -> NoReturn:
    """Show the state again and again, on one screen; reading a large journal takes at most a tenth of the time."""
    from rich.live import Live

    from selfinstruct.console import PlainConsole
    from selfinstruct.replay import status as statuses

    console = PlainConsole(markup=True)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            began = time.monotonic()
            result = statuses.status(run, gpu_price)
            if len(console.render_lines(statuses.render(result))) > console.height:
                result = statuses.brief(result)
            live.update(statuses.render(result), refresh=True)
            pause(max(_INTERVAL_S, 9 * (time.monotonic() - began)))
