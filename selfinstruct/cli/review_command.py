"""The `review` command: people read rows, on a local page or in the terminal."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from selfinstruct.cli.edge import cli
from selfinstruct.cli.shared import RUN
from selfinstruct.errors import ConfigError

if TYPE_CHECKING:
    from selfinstruct.review.sample import Reading


@cli.command()
@RUN
@click.option("--rows", type=click.IntRange(min=1), default=200, show_default=True, help="Rows in the random sample.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed draws another sample.")
@click.option("--terminal", is_flag=True, help="Ask in this terminal, without a page.")
@click.option("--reviewer", help="With --terminal: your name.  [default: that of your account]")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port of the page.  [default: a free one]")
@click.option("--no-browser", is_flag=True, help="Print the address, and open no browser.")
def review(run: Path, rows: int, seed: int, terminal: bool, reviewer: str | None, port: int, no_browser: bool) -> None:
    """Read a sample of rows, and say whether they are right.

    Asks the paper's three questions about each: is the instruction a valid task, is the input appropriate, is the
    output right? The same sample is shown to everybody. Each answer is kept at once; the same command continues. The
    report shows shares beside the paper's 92, 79, 58 and 54 %, and the agreement of several people; `export
    --without-rejected-reviews` leaves out what was rejected. The page answers on this machine alone.

    \b
    Example:
        selfinstruct review runs/first
        selfinstruct review runs/first --rows 50 --terminal --reviewer Ada
    """
    from selfinstruct.review.sample import Reading

    reading = Reading.of(run, rows, seed)
    if terminal:
        require_terminal()
        _ask(reading, reviewer or getpass.getuser())
        return
    import webbrowser

    from selfinstruct.review.server import ReviewServer

    with ReviewServer(reading, port) as server:
        click.echo(f"review {len(reading.rows)} rows at {server.address}\nCtrl-C ends; answers are kept", err=True)
        if not no_browser:
            webbrowser.open(server.address)
        server.serve_forever()


def _ask(reading: Reading, reviewer: str) -> None:
    from selfinstruct.replay.show import as_text
    from selfinstruct.run.reviews import QUESTIONS, read_reviews

    answered = reading.answered(read_reviews(reading.path), reviewer)
    left = [row for row in reading.rows if row.id not in answered]
    for number, row in enumerate(left, len(answered) + 1):
        click.echo(f"\nrow {number} of {len(reading.rows)}\n{as_text(row)}")
        said = []
        for words in QUESTIONS.values():
            click.echo(f"{words} [y/n, q ends] ", nl=False)
            while (key := _key()) not in ("y", "n", "q"):
                pass
            click.echo(key)
            if key == "q":
                return
            said.append(key == "y")
        reading.add(reviewer, row.id, task=said[0], input_fits=said[1], output=said[2])
    click.echo(f"\nall {len(reading.rows)} rows are reviewed by {reviewer}; next: selfinstruct report", err=True)


def require_terminal() -> None:
    """Refuse before the first row is shown. Keys are read from the terminal, whatever standard input is."""
    try:
        if not sys.stdin.isatty():
            Path("/dev/tty").open().close()
    except OSError as error:
        raise ConfigError(f"--terminal: keys cannot be read ({error.strerror}); leave it out for a page") from error


def _key() -> str:
    return click.getchar().lower()
