"""Talking to a model: chat."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from selfinstruct.cli.edge import cli
from selfinstruct.cli.shared import AS_JSON

if TYPE_CHECKING:
    from tuning.chat import Speaker


@cli.command()
@click.argument("model", metavar="MODEL")
@click.option("--against", default=None, help="Model to put beside it; `none` for nobody.  [default: its base]")
@click.option("--prompt", "prompts", multiple=True, metavar="TEXT", help="Ask this and end. Repeatable.")
@click.option("--max-tokens", type=click.IntRange(1), default=256, show_default=True, help="Longest answer, in tokens.")
@click.option(
    "--temperature", type=click.FloatRange(0), default=0.0, show_default=True, help="Of sampling; 0 is greedy."
)
@AS_JSON
def chat(
    model: str, against: str | None, prompts: tuple[str, ...], max_tokens: int, temperature: float, as_json: bool
) -> None:
    """Talk to a model, for a quick look.

    MODEL is a path (of a model, an adapter or a run), a name on the Hub, or `demo`. A tuned model answers beside the
    one it was tuned from. On a terminal this is a conversation: /new begins another one, Ctrl-D ends it. Otherwise
    every line of stdin is a prompt of its own.

    \b
    Example:
        selfinstruct chat runs/first
        selfinstruct chat runs/first --prompt "Name three rivers." --against none
        selfinstruct chat ./mine --against Qwen/Qwen3-8B --json < prompts.txt
    """
    from tuning import sft
    from tuning.chat import as_json as line
    from tuning.chat import load_speakers, models

    sft.set_environment(debug=False)
    named = models(model, against)
    click.echo(f"loading {' and '.join(one.model for one in named)}", err=True)
    speakers = load_speakers(named)

    def ask(speaker: Speaker) -> Iterator[str]:
        return speaker.answer(prompt, max_tokens=max_tokens, temperature=temperature)

    talk = not prompts and sys.stdin.isatty()
    for prompt in prompts or (_asked() if talk else _lines()):
        if talk and prompt == "/new":
            for speaker in speakers:
                speaker.forget()
            continue
        if as_json:
            answers = {speaker.name: "".join(ask(speaker)).strip() for speaker in speakers}
            click.echo(line(prompt, answers))
        elif len(speakers) == 1:
            _say(ask(speakers[0]), speakers[0])
        elif sys.stdout.isatty():
            _side_by_side(speakers, ask)
        else:
            click.echo(f"> {prompt}")
            for speaker in speakers:
                click.echo(f"[{speaker.name}]")
                _say(ask(speaker), speaker)
        if not talk:
            for speaker in speakers:
                speaker.forget()


def _asked() -> Iterator[str]:
    """What a person types, until Ctrl-D."""
    import contextlib

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - gives `input` a history
    while True:
        try:
            text = input("\n> ").strip()
        except EOFError:
            click.echo()
            return
        if text:
            yield text


def _lines() -> Iterator[str]:
    for raw in sys.stdin.buffer:
        if text := raw.decode("utf-8", "replace").strip():
            yield text


def _say(pieces: Iterator[str], speaker: Speaker) -> None:
    for piece in pieces:
        click.echo(piece, nl=False)
    click.echo(" ..." if speaker.cut else "")


def _side_by_side(speakers: list[Speaker], ask: Callable[[Speaker], Iterator[str]]) -> None:
    """Two columns, which fill as the answers come."""
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    texts = {speaker.name: "" for speaker in speakers}

    def table() -> Table:
        columns = Table(expand=True, box=None, padding=(0, 2, 0, 0))
        for name in texts:
            columns.add_column(name, ratio=1)
        columns.add_row(*(Text(text) for text in texts.values()))
        return columns

    with Live(table(), console=Console(highlight=False), refresh_per_second=8, vertical_overflow="visible") as live:
        for speaker in speakers:
            for piece in ask(speaker):
                texts[speaker.name] += piece
                live.update(table())
            texts[speaker.name] = texts[speaker.name].strip() + (" ..." if speaker.cut else "")
            live.update(table())
