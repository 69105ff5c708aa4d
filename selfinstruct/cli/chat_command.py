"""The command `chat`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from selfinstruct.cli.edge import cli
from selfinstruct.cli.shared import AS_JSON, FiniteFromZero
from selfinstruct.text import printable

if TYPE_CHECKING:
    from tuning.chat_session import Speaker


@cli.command()
@click.argument("model", metavar="MODEL")
@click.option("--against", default=None, help="Model to compare with; `none`: no model.  [default: its base]")
@click.option("--prompt", "prompts", multiple=True, metavar="TEXT", help="Ask this, then end. Repeatable.")
@click.option("--max-tokens", type=click.IntRange(1), default=256, show_default=True, help="Longest answer, in tokens.")
@click.option("--temperature", type=FiniteFromZero(), default=0.0, show_default=True, help="Of sampling; 0 is greedy.")
@click.option("--allow-control-tokens", is_flag=True, help="Read `<|im_end|>` and the like as what they say.")
@AS_JSON
def chat(
    model: str,
    against: str | None,
    prompts: tuple[str, ...],
    max_tokens: int,
    temperature: float,
    allow_control_tokens: bool,
    as_json: bool,
) -> None:
    """Chat with a model.

    MODEL is a path (of a model, an adapter or a run), a name on the Hub, or `demo`. The base of a tuned model answers,
    too. On a terminal this is a conversation: /new begins another one, Ctrl-D ends it. Otherwise every line of stdin
    is a separate prompt.

    \b
    Example:
        selfinstruct chat runs/first
        selfinstruct chat runs/first --prompt "Name three rivers." --against none
        selfinstruct chat ./mine --against Qwen/Qwen3-8B --json < prompts.txt
    """
    from selfinstruct.console import console, is_verbose
    from tuning import sft
    from tuning.chat_session import as_json as line
    from tuning.chat_session import load_speakers, models

    sft.set_environment(debug=is_verbose())
    named = models(model, against)
    console.print(f"loading {' and '.join(one.model for one in named)}")
    speakers = load_speakers(named, allow_control_tokens=allow_control_tokens)

    def ask(speaker: Speaker) -> Iterator[str]:
        return speaker.answer(prompt, max_tokens=max_tokens, temperature=temperature)

    is_conversation = not prompts and sys.stdin.isatty()
    for prompt in prompts or (_typed_lines() if is_conversation else _lines_of_stdin()):
        if is_conversation and prompt == "/new":
            for speaker in speakers:
                speaker.forget()
            continue
        if as_json:
            answers = {speaker.name: "".join(ask(speaker)).strip() for speaker in speakers}
            click.echo(line(prompt, answers))
        elif len(speakers) == 1:
            _print_answer(ask(speakers[0]), speakers[0])
        elif sys.stdout.isatty():
            _side_by_side(speakers, ask)
        else:
            click.echo(f"> {prompt}")
            for speaker in speakers:
                click.echo(f"[{speaker.name}]")
                _print_answer(ask(speaker), speaker)
        if not is_conversation:
            for speaker in speakers:
                speaker.forget()


def _typed_lines() -> Iterator[str]:
    """Yield what the user types, until Ctrl-D."""
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


def _lines_of_stdin() -> Iterator[str]:
    for raw in sys.stdin.buffer:
        if text := raw.decode("utf-8", "replace").strip():
            yield text


def _print_answer(pieces: Iterator[str], speaker: Speaker) -> None:
    for piece in pieces:
        click.echo(printable(piece), nl=False)
    click.echo(" ..." if speaker.cut else "")


def _side_by_side(speakers: list[Speaker], ask: Callable[[Speaker], Iterator[str]]) -> None:
    """Print the answers in columns, which fill while the answers are generated."""
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    texts = {speaker.name: "" for speaker in speakers}

    def table() -> Table:
        columns = Table(expand=True, box=None, padding=(0, 2, 0, 0))
        for name in texts:
            columns.add_column(name, ratio=1, overflow="fold")
        columns.add_row(*(Text(printable(text)) for text in texts.values()))
        return columns

    with Live(table(), console=Console(highlight=False), refresh_per_second=8, vertical_overflow="visible") as live:
        for speaker in speakers:
            for piece in ask(speaker):
                texts[speaker.name] += piece
                live.update(table())
            texts[speaker.name] = texts[speaker.name].strip() + (" ..." if speaker.cut else "")
            live.update(table())
