"""The group of all commands."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from selfinstruct import __version__
from selfinstruct.cli.help import HOW_MUCH, FittedHelp, HelpfulCommand
from selfinstruct.environment import DEBUG_VARIABLE
from selfinstruct.program_edge import run_program
from selfinstruct.text import without_long_runs


class HelpfulGroup(FittedHelp, click.Group):
    """A group whose commands have grouped options; `-q` and `-v` may also come before the command."""

    command_class = HelpfulCommand

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the options before a command."""
        *own, of_help = super().get_params(ctx)
        return [*own, *HOW_MUCH, of_help]


class _All(HelpfulGroup):
    """All commands; usage errors are shown by Click, every other one by `run_program`."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        own = (click.exceptions.Exit, click.Abort, click.ClickException)
        try:
            code = run_program(lambda: super(_All, self).invoke(ctx), passes=own)
        except click.ClickException as error:
            error.message = without_long_runs(error.message)  # type: ignore[misc]
            raise
        if code:
            sys.exit(code)


@click.group(
    "selfinstruct", cls=_All, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
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

    What vLLM, transformers and TRL write is in RUN/libraries.log; --verbose shows it here, too.
    """
    if debug:
        os.environ[DEBUG_VARIABLE] = "1"
