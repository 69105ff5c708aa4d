"""Look at what a run made, or at what it would make: show, preview."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import Any

import click

from selfinstruct.cli.edge import cli
from selfinstruct.cli.shared import (
    CONFIG_FILE,
    GENERATION_SECTIONS,
    PASSES_ON,
    RUN,
    engine_starter,
    extra_arguments,
    passed_on_sections,
    preflight,
)
from selfinstruct.config.click_options import config_options, resolve_config
from selfinstruct.errors import ConfigError, StoppedError
from selfinstruct.text import printable

_AS_JSON_LINES = click.option("--json", "as_json", is_flag=True, help="Print JSON Lines: one object for each item.")


@cli.command()
@RUN
@click.option(
    "--rejected", metavar="REASON", help="Show what was rejected for this reason instead; `any`: for whatever reason."
)
@click.option("--random", "number", type=click.IntRange(min=1), help="Show this number of items, drawn at random.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed draws other items.")
@click.option("--grep", metavar="TEXT", help="Show only items with this text, in upper or lower case.")
@_AS_JSON_LINES
def show(run: Path, rejected: str | None, number: int | None, seed: int, grep: str | None, as_json: bool) -> None:
    """Show rows, or what was rejected, and why.

    Works while the run is going on. Control characters in texts of models are shown as escapes.

    \b
    Example:
        selfinstruct show runs/first --random 20
        selfinstruct show runs/first --grep river | less
        selfinstruct show runs/first --rejected near_duplicate --json | head -n 1
        selfinstruct show runs/first --json | jq -r .instruction
    """
    from selfinstruct.replay import show as library

    items: list[library.Shown] = [*(library.rows(run) if rejected is None else library.rejected(run, rejected))]
    if grep is not None:
        items = library.containing(items, grep)
    if number is not None:
        items = library.sample(items, number, seed)
    _print(items, as_json=as_json)
    if not items:
        click.echo("nothing to show; `selfinstruct status` says what the run has made", err=True)


def _print(items: list[Any], *, as_json: bool) -> None:
    from selfinstruct.replay import show as library

    for item in items:
        click.echo(library.as_json(item) if as_json else f"{library.as_text(item)}\n")


@cli.command(context_settings=PASSES_ON)
@CONFIG_FILE
@click.option("-n", "--rows", type=click.IntRange(1, 1000), default=10, show_default=True, help="Rows to show.")
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the run in this directory, which must be new.",
)
@config_options("", *GENERATION_SECTIONS, "limits")
@_AS_JSON_LINES
@extra_arguments("--engine.NAME VALUE")
def preview(
    config_file: Path, rows: int, keep: Path | None, as_json: bool, arguments: tuple[str, ...], **options: Any
) -> None:
    """Make a few rows before a long run, and show them.

    Generates a few instructions more than rows, as not each gets one, with the configuration as it is, and keeps
    nothing unless --keep names a directory. The night itself will make other rows, as its prompts show other examples.

    \b
    Example:
        selfinstruct preview night.yaml
        selfinstruct preview night.yaml --rows 25 --threshold 0.6 --keep runs/preview
    """
    from selfinstruct.console import console
    from selfinstruct.generation.generate import generate
    from selfinstruct.replay import show as library
    from selfinstruct.replay import status as statuses

    if keep is not None and keep.exists():
        raise ConfigError(f"--keep {keep}: exists; name a directory that does not exist yet")
    with _directory(keep) as directory:
        chosen = options | {"num_instructions": rows + rows // 2 + 2, "output_dir": str(directory)}
        config = resolve_config(config_file, chosen, passed_on_sections(arguments))
        preflight(config, tuned=False)
        try:
            generate(config, engine_starter(config))
        except StoppedError as stopped:
            console.print(f"the preview ended early: {stopped}", markup=False)
        _print(library.rows(directory)[:rows], as_json=as_json)
        click.echo(printable(statuses.in_one_line(statuses.status(directory).counts)), err=True)
    if keep is not None:
        click.echo(f"kept in {keep}; next: selfinstruct show {quote(str(keep))} --rejected any", err=True)


@contextlib.contextmanager
def _directory(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="selfinstruct-preview-") as folder:
        yield Path(folder) / "run"
