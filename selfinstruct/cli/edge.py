"""The edge of the program: the group of all commands, and what errors look like."""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

import click

from selfinstruct import __version__
from selfinstruct.config.environment import DEBUG_VARIABLE
from selfinstruct.errors import Interrupted, SelfInstructError
from selfinstruct.signals import leave, on_signals


class _Edge(click.Group):
    """The edge of the program: here errors become one message and the exit code of their kind (see `errors.py`)."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            with on_signals(leave):
                return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort, click.ClickException):
            raise
        except Interrupted as stopped:
            click.echo(f"{stopped}", err=True)
            sys.exit(stopped.exit_code)
        except BrokenPipeError:
            # The reader of our stdout (head, for example) has gone: nothing is wrong.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        except Exception as error:
            if os.environ.get(DEBUG_VARIABLE):
                raise
            raise _Message(error) from error


class _Message(click.ClickException):
    """An error as the user sees it, with the exit code of its kind."""

    def __init__(self, error: Exception) -> None:
        if isinstance(error, SelfInstructError):
            text = str(error)
        elif isinstance(error, OSError) and error.filename is not None:
            text = f"{error.filename}: {error.strerror}"
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                text += "; make room, then give the same command again"
        else:
            text = f"{type(error).__name__}: {error}\nThis is a defect; --debug shows where it happened."
        super().__init__(text)
        self.exit_code = getattr(error, "exit_code", 1)  # type: ignore[misc]


@click.group(
    "selfinstruct", cls=_Edge, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
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
