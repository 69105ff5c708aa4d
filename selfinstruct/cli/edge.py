"""The group of all commands."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from selfinstruct import __version__
from selfinstruct.cli.help import HelpfulCommand
from selfinstruct.environment import DEBUG_VARIABLE
from selfinstruct.program_edge import run_program


class _Group(click.Group):
    """All commands; usage errors are shown by Click, every other one by `run_program`."""

    command_class = HelpfulCommand

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        own = (click.exceptions.Exit, click.Abort, click.ClickException)
        if code := run_program(lambda: super(_Group, self).invoke(ctx), passes=own):
            sys.exit(code)


@click.group(
    "selfinstruct", cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="selfinstruct")
@click.option("--debug", is_flag=True, help="Show a traceback with an error.")
def cli(debug: bool) -> None:
    """Grow an instruction-tuning dataset from seed tasks, tune a model on it, and measure whether it helped.

    \b
    Try it offline, on any machine:
        selfinstruct demo
    With a model of your own:
        selfinstruct init night.yaml
        selfinstruct run night.yaml
    """
    if debug:
        os.environ[DEBUG_VARIABLE] = "1"
